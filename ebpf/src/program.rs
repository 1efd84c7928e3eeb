//! The program, loaded and attached.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use aya::maps::{Map, MapData, PerCpuArray, RingBuf};
use aya::programs::{BtfTracePoint, Iter, ProgramError};
use aya::{Btf, Ebpf, EbpfLoader, include_bytes_aligned};

use crate::kernel::{Iterator, trim};
use crate::records::{LOSS_WORDS, Losses, RECORD_BYTES, Raw};

static OBJECT: &[u8] = include_bytes_aligned!("../flows.bpfel.o");

/// Bytes read from an iterator at once.
const READ_BYTES: usize = 64 << 10;
/// Asked again so often when the kernel says that it could not go on.
const AGAIN_MAX: usize = 8;

/// Why the kernel did not let us.
#[derive(Debug)]
pub struct Refused {
    /// What was to be done, as in "load the program for ...".
    pub what: &'static str,
    pub errno: Option<i32>,
    /// What was said, with the verifier's words where it was the verifier.
    pub why: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "cannot {}: {}", self.what, self.why)
    }
}

impl Error for Refused {}

impl Refused {
    fn new(what: &'static str, error: &(dyn Error + 'static)) -> Refused {
        let mut errno = None;
        let mut why = error.to_string();
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(io) = error.downcast_ref::<io::Error>() {
                errno = io.raw_os_error();
            }
            why = error.to_string();
            cause = error.source();
        }
        // The verifier's words say more than the errno that follows them.
        if let Some(ProgramError::LoadError { verifier_log, .. }) = error.downcast_ref()
            && let Some(last) = verifier_log.to_string().lines().rev().find(|line| !line.starts_with("processed"))
        {
            why = format!("{why}: {last}");
        }
        Refused { what, errno, why }
    }
}

/// The program while it is attached. Detached when it is dropped.
pub struct Program {
    snapshot: Iterator,
    find: Iterator,
    closings: RingBuf<MapData>,
    losses: PerCpuArray<MapData, [u64; LOSS_WORDS]>,
    /// Holds the attachments.
    _ebpf: Ebpf,
}

impl Program {
    /// Loads it and attaches it to the kernel's hooks. Needs `CAP_BPF` and `CAP_PERFMON`.
    /// Only sockets of the network namespace with that inode count, if one is given.
    pub fn attach(netns: Option<u32>) -> Result<Program, Refused> {
        Program::attach_with(netns, RING_BYTES)
    }

    /// The same with so much room for connections that have closed: a power of two, at least a page.
    pub fn attach_with(netns: Option<u32>, ring_bytes: u32) -> Result<Program, Refused> {
        let program = attach(netns.unwrap_or(0), ring_bytes);
        trim();
        program
    }

    /// Gives the sockets that have closed since it was last asked.
    pub fn closed(&mut self, mut each: impl FnMut(&Raw)) {
        while let Some(item) = self.closings.next() {
            item.first_chunk().into_iter().for_each(&mut each);
        }
    }

    /// Gives every socket that is open and known.
    pub fn open(&self, each: impl FnMut(&Raw)) -> io::Result<()> {
        read(self.snapshot.begin()?, each)
    }

    /// Looks for sockets that were open before, and for the processes that hold those that were accepted.
    /// Gives the ones that are new, with what they have counted before.
    pub fn find(&self, each: impl FnMut(&Raw)) -> io::Result<()> {
        read(self.find.begin()?, each)
    }

    /// What was lost since the program was attached.
    pub fn losses(&self) -> io::Result<Losses> {
        let mut all = Losses::default();
        let each_cpu = self.losses.get(&0, 0).map_err(io::Error::other)?;
        each_cpu.iter().for_each(|words| all.add(words));
        Ok(all)
    }
}

/// Room for connections that have closed: 25,000 of them.
const RING_BYTES: u32 = 4 << 20;

fn attach(netns: u32, ring_bytes: u32) -> Result<Program, Refused> {
    let btf = Btf::from_sys_fs().map_err(|error| Refused::new("read the kernel's types (BTF)", &error))?;
    let mut loader = EbpfLoader::new();
    loader.btf(Some(&btf)).map_max_entries("closings", ring_bytes).override_global("only_netns", &netns, true);
    let mut ebpf = loader.load(OBJECT).map_err(|error| Refused::new("create the program's maps", &error))?;

    let sockets = match ebpf.map("sockets") {
        Some(Map::SkStorage(map)) => map.fd().as_fd().try_clone_to_owned(),
        _ => return Err(damaged("sockets")),
    };
    let sockets = sockets.map_err(|error| Refused::new("keep the map of sockets", &error))?;
    let snapshot = iterator(&mut ebpf, "snapshot", "bpf_sk_storage_map", &btf, Some(sockets.as_fd()))?;
    let find = iterator(&mut ebpf, "find", "task_file", &btf, None)?;

    let what = "load the program for changes of a socket's state";
    let on_state: &mut BtfTracePoint = program(&mut ebpf, "on_state")?;
    on_state.load("inet_sock_set_state", &btf).map_err(|error| Refused::new(what, &error))?;
    on_state.attach().map_err(|error| Refused::new("attach to inet_sock_set_state", &error))?;

    let closings = ebpf.take_map("closings").ok_or_else(|| damaged("closings"))?;
    let closings = RingBuf::try_from(closings).map_err(|error| Refused::new("map the ring", &error))?;
    let losses = ebpf.take_map("losses").ok_or_else(|| damaged("losses"))?;
    let losses = PerCpuArray::try_from(losses).map_err(|error| Refused::new("read the counters", &error))?;
    Ok(Program { snapshot, find, closings, losses, _ebpf: ebpf })
}

fn iterator(
    ebpf: &mut Ebpf,
    name: &'static str,
    over: &str,
    btf: &Btf,
    map: Option<BorrowedFd>,
) -> Result<Iterator, Refused> {
    let iter: &mut Iter = program(ebpf, name)?;
    iter.load(over, btf).map_err(|error| Refused::new("load a program that reads sockets", &error))?;
    let fd = iter.fd().map_err(|error| Refused::new("keep a program that reads sockets", &error))?;
    Iterator::attach(fd.as_fd(), map).map_err(|error| Refused::new("attach a program that reads sockets", &error))
}

fn damaged(what: &'static str) -> Refused {
    Refused { what: "use the object", errno: None, why: format!("it has no {what}") }
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, Refused>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program>,
{
    ebpf.program_mut(name).and_then(|program| program.try_into().ok()).ok_or_else(|| damaged(name))
}

/// Reads an iterator to its end, a record at a time.
fn read(mut file: File, mut each: impl FnMut(&Raw)) -> io::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    let mut filled = 0;
    let mut again = 0;
    loop {
        let n = match file.read(&mut buffer[filled..]) {
            Ok(n) => n,
            // It comes back to where it was.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && again < AGAIN_MAX => {
                again += 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        if n == 0 {
            return Ok(());
        }
        filled += n;
        let (records, rest) = buffer[..filled].as_chunks::<RECORD_BYTES>();
        records.iter().for_each(&mut each);
        let rest = filled - rest.len()..filled;
        filled = rest.len();
        buffer.copy_within(rest, 0);
    }
}
