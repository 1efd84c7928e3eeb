//! Network namespaces of the tests' own.

#![allow(unsafe_code)]

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use weir_ebpf::records::Counters;

/// Runs in a network namespace that nobody else is in, with loopback up; gives its inode.
pub fn alone<T: Send>(run: impl FnOnce(u32) -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: a call without pointers, for this thread alone.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "{}", std::io::Error::last_os_error());
            let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
            assert!(up.success());
            run(inode())
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Inode of the namespace that this thread is in.
pub fn inode() -> u32 {
    fs::metadata("/proc/thread-self/ns/net").unwrap().ino() as u32
}

/// What the kernel says of a TCP socket (`struct tcp_info`), as far as it is compared.
pub fn tcp_info(socket: &impl AsRawFd) -> Counters {
    let mut bytes = [0u8; 256];
    let mut length = bytes.len() as u32;
    // SAFETY: as much room as is said.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            bytes.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    assert_eq!(done, 0);
    let u64_at = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
    let u32_at = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
    // Offsets of linux/tcp.h.
    Counters {
        bytes_sent: u64_at(200),
        bytes_retransmitted: u64_at(208),
        bytes_received: u64_at(128),
        packets_sent: u32_at(136),
        packets_received: u32_at(140),
        retransmits: u32_at(100),
    }
}
