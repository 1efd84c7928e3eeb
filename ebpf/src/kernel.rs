//! The calls that neither aya nor the standard library has. Beside `netlink`, it is the one file with `unsafe`.
//!
//! An iterator is a program that the kernel runs for each of many things, whenever it is read. aya cannot say
//! to one which map it is over, and lets one be read once; so this is done here, with two calls of `bpf(2)`.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Commands and the kind of attachment, by the numbers of `linux/bpf.h`.
const LINK_CREATE: libc::c_int = 28;
const ITER_CREATE: libc::c_int = 33;
const MAP_LOOKUP_AND_DELETE_ELEM: libc::c_int = 21;
const TRACE_ITER: u32 = 28;

/// What an iterator is over (`union bpf_iter_link_info`).
#[repr(C)]
struct Over {
    map_fd: u32,
    rest: [u32; 3],
}

#[repr(C)]
struct LinkCreate {
    program_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    over: u64,
    over_bytes: u32,
    /// Named, so that it is zero as the kernel wants it.
    rest: u32,
}

#[repr(C)]
struct IterCreate {
    link_fd: u32,
    flags: u32,
}

/// A program that goes over things, whenever it is asked to.
pub struct Iterator(OwnedFd);

impl Iterator {
    /// Over this map; without one, over what the program was written for.
    pub fn attach(program: BorrowedFd, map: Option<BorrowedFd>) -> io::Result<Iterator> {
        let over = Over { map_fd: map.map_or(0, |map| map.as_raw_fd() as u32), rest: [0; 3] };
        let is_over = map.is_some();
        let link = LinkCreate {
            program_fd: program.as_raw_fd() as u32,
            target_fd: 0,
            attach_type: TRACE_ITER,
            flags: 0,
            over: if is_over { (&raw const over) as u64 } else { 0 },
            over_bytes: if is_over { size_of::<Over>() as u32 } else { 0 },
            rest: 0,
        };
        bpf(LINK_CREATE, &link).map(Iterator)
    }

    /// Begins to go over them: what the program writes is read from the file.
    pub fn begin(&self) -> io::Result<File> {
        bpf(ITER_CREATE, &IterCreate { link_fd: self.0.as_fd().as_raw_fd() as u32, flags: 0 }).map(File::from)
    }
}

/// Takes an element out of a map; whether it was there. What it was is in `value` then: aya cannot do both at
/// once, and what is counted between two calls would be lost.
pub fn take_out<const KEY: usize, const VALUE: usize>(
    map: BorrowedFd,
    key: &[u8; KEY],
    value: &mut [u8; VALUE],
) -> io::Result<bool> {
    let element = Element {
        map_fd: map.as_raw_fd() as u32,
        padding: 0,
        key: key.as_ptr() as u64,
        value: value.as_mut_ptr() as u64,
        flags: 0,
    };
    match call(MAP_LOOKUP_AND_DELETE_ELEM, &element) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

#[repr(C)]
struct Element {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// A call whose answer is a descriptor.
fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: a new descriptor that nobody else has.
    call(command, attributes).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

fn call<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_int> {
    // SAFETY: the kernel reads as many bytes as is said, of a structure that lives for the whole call, as does
    // what it points to, which has the sizes that the map was made with.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as libc::c_int) }
}

/// Gives back to the system what was freed: the kernel's types, and a round of many sockets, take much memory for a
/// moment.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a call without pointers.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Nanoseconds of `CLOCK_MONOTONIC`, which the program counts by.
pub fn monotonic_nanos() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: there is room for the answer; this clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
