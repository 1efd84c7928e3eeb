//! The program, loaded and attached.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use aya::maps::{Map, MapData, PerCpuArray, RingBuf};
use aya::programs::{BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSock, Iter, ProgramError};
use aya::{Btf, Ebpf, EbpfLoader, include_bytes_aligned};

use crate::kernel::{Iterator, take_out, trim};
use crate::measuring::Cost;
use crate::records::{LOSS_WORDS, Losses, PEER_BYTES, RECORD_BYTES, Raw, peer_key, with_peer};

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
    pub(crate) fn new(what: &'static str, error: &(dyn Error + 'static)) -> Refused {
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

/// What is counted, and with how much room.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Only sockets of the network namespace with that inode, if one is given.
    pub netns: Option<u32>,
    /// Whether UDP is counted, which costs some time for each packet.
    pub udp: bool,
    /// Room for TCP connections that have closed: a power of two, at least a page.
    pub ring_bytes: u32,
    /// Room for peers of UDP sockets.
    pub peers_max: u32,
}

impl Default for Wanted {
    fn default() -> Self {
        // 25,000 connections that have closed.
        Wanted { netns: None, udp: true, ring_bytes: 4 << 20, peers_max: 1 << 16 }
    }
}

/// The program while it is attached. Detached when it is dropped.
pub struct Program {
    snapshot: Iterator,
    find: Iterator,
    closings: RingBuf<MapData>,
    losses: PerCpuArray<MapData, [u64; LOSS_WORDS]>,
    udp: Result<Udp, Refused>,
    /// Holds the attachments.
    ebpf: Ebpf,
}

/// What counts UDP.
struct Udp {
    snapshot: Iterator,
    peers: OwnedFd,
}

impl Program {
    /// Loads it and attaches it to the kernel's hooks. Needs `CAP_BPF` and `CAP_PERFMON`; for UDP,
    /// `CAP_NET_ADMIN` as well and the folder where cgroup2 is mounted.
    pub fn attach(wanted: Wanted, cgroups: Option<&Path>) -> Result<Program, Refused> {
        let program = attach(wanted, cgroups);
        trim();
        program
    }

    /// Why UDP is not counted, if it is not.
    pub fn udp_refused(&self) -> Option<&Refused> {
        self.udp.as_ref().err()
    }

    /// One of the object's programs, to be loaded beside the others.
    pub(crate) fn program<'a, P>(&'a mut self, name: &'static str) -> Result<&'a mut P, Refused>
    where
        &'a mut P: TryFrom<&'a mut aya::programs::Program>,
    {
        program(&mut self.ebpf, name)
    }

    pub(crate) fn cost(&self, name: &str) -> Option<Cost> {
        let info = self.ebpf.program(name)?.info().ok()?;
        Some(Cost { runs: info.run_count(), time: info.run_time() })
    }

    /// Gives the sockets that have closed since it was last asked.
    pub fn closed(&mut self, mut each: impl FnMut(&Raw)) {
        while let Some(item) = self.closings.next() {
            item.first_chunk().into_iter().for_each(&mut each);
        }
    }

    /// Gives every TCP socket that is open and known.
    pub fn open(&self, each: impl FnMut(&Raw)) -> io::Result<()> {
        read(self.snapshot.begin()?, each)
    }

    /// Gives what every UDP socket has had with each peer.
    pub fn open_udp(&self, each: impl FnMut(&Raw)) -> io::Result<()> {
        match &self.udp {
            Ok(udp) => read(udp.snapshot.begin()?, each),
            Err(_) => Ok(()),
        }
    }

    /// Forgets what a UDP socket has had with a peer. What was counted after `record` was made is in the record
    /// that comes back; nothing if there is none any more.
    pub fn forget(&self, record: &Raw) -> io::Result<Option<Raw>> {
        let Ok(udp) = &self.udp else { return Ok(None) };
        let mut value = [0; PEER_BYTES];
        let is_there = take_out(udp.peers.as_fd(), &peer_key(record), &mut value)?;
        Ok(is_there.then(|| with_peer(record, &value)))
    }

    /// Looks for sockets that were open before, and for the processes that hold those that were accepted.
    /// Gives the TCP ones that are new, with what they have counted before.
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

fn attach(wanted: Wanted, cgroups: Option<&Path>) -> Result<Program, Refused> {
    let btf = Btf::from_sys_fs().map_err(|error| Refused::new("read the kernel's types (BTF)", &error))?;
    let mut loader = EbpfLoader::new();
    let (netns, counts_udp) = (wanted.netns.unwrap_or(0), u8::from(wanted.udp));
    loader.btf(Some(&btf)).map_max_entries("closings", wanted.ring_bytes);
    loader.map_max_entries("peers", if wanted.udp { wanted.peers_max } else { 1 });
    loader.override_global("only_netns", &netns, true).override_global("counts_udp", &counts_udp, true);
    let mut ebpf = loader.load(OBJECT).map_err(|error| Refused::new("create the program's maps", &error))?;

    let sockets = map_fd(&ebpf, "sockets")?;
    let snapshot = iterator(&mut ebpf, "snapshot", "bpf_sk_storage_map", &btf, Some(sockets.as_fd()))?;
    let find = iterator(&mut ebpf, "find", "task_file", &btf, None)?;

    attach_state(&mut ebpf, &btf)?;
    attach_destroy(&mut ebpf, &btf)?;
    let udp = match wanted.udp {
        true => attach_udp(&mut ebpf, &btf, cgroups),
        false => Err(Refused { what: "count UDP", errno: None, why: "nobody asked for it".into() }),
    };

    let closings = ebpf.take_map("closings").ok_or_else(|| damaged("closings"))?;
    let closings = RingBuf::try_from(closings).map_err(|error| Refused::new("map the ring", &error))?;
    let losses = ebpf.take_map("losses").ok_or_else(|| damaged("losses"))?;
    let losses = PerCpuArray::try_from(losses).map_err(|error| Refused::new("read the counters", &error))?;
    Ok(Program { snapshot, find, closings, losses, udp, ebpf })
}

fn attach_udp(ebpf: &mut Ebpf, btf: &Btf, cgroups: Option<&Path>) -> Result<Udp, Refused> {
    let what = "open where cgroup2 is mounted";
    let Some(cgroups) = cgroups else { return Err(Refused { what, errno: None, why: "it is mounted nowhere".into() }) };
    let cgroups = File::open(cgroups).map_err(|error| Refused::new(what, &error))?;
    let peers = map_fd(ebpf, "peers")?;
    let snapshot = iterator(ebpf, "snapshot_udp", "bpf_map_elem", btf, Some(peers.as_fd()))?;
    // Owners go before packets, which ask for theirs.
    attach_create(ebpf, &cgroups)?;
    attach_packets(ebpf, &cgroups, "on_received", CgroupSkbAttachType::Ingress)?;
    attach_packets(ebpf, &cgroups, "on_sent", CgroupSkbAttachType::Egress)?;
    Ok(Udp { snapshot, peers })
}

fn attach_state(ebpf: &mut Ebpf, btf: &Btf) -> Result<(), Refused> {
    let whats = ["load the program for changes of a socket's state", "attach to inet_sock_set_state"];
    attach_traced(ebpf, btf, "on_state", "inet_sock_set_state", whats)
}

fn attach_destroy(ebpf: &mut Ebpf, btf: &Btf) -> Result<(), Refused> {
    let whats = ["load the program for sockets that go", "attach to tcp_destroy_sock"];
    attach_traced(ebpf, btf, "on_destroy", "tcp_destroy_sock", whats)
}

/// `whats` are what is said when it cannot be loaded, and when it cannot be attached.
fn attach_traced(
    ebpf: &mut Ebpf,
    btf: &Btf,
    name: &'static str,
    tracepoint: &str,
    [load, attach]: [&'static str; 2],
) -> Result<(), Refused> {
    let traced: &mut BtfTracePoint = program(ebpf, name)?;
    traced.load(tracepoint, btf).map_err(|error| Refused::new(load, &error))?;
    traced.attach().map_err(|error| Refused::new(attach, &error))?;
    Ok(())
}

fn attach_create(ebpf: &mut Ebpf, cgroups: &File) -> Result<(), Refused> {
    let what = "attach to where sockets are made";
    let on_create: &mut CgroupSock = program(ebpf, "on_create")?;
    on_create.load().map_err(|error| Refused::new("load the program for new sockets", &error))?;
    on_create.attach(cgroups, CgroupAttachMode::Single).map_err(|error| Refused::new(what, &error))?;
    Ok(())
}

fn attach_packets(
    ebpf: &mut Ebpf,
    cgroups: &File,
    name: &'static str,
    way: CgroupSkbAttachType,
) -> Result<(), Refused> {
    let on_packet: &mut CgroupSkb = program(ebpf, name)?;
    on_packet.load().map_err(|error| Refused::new("load the program for packets", &error))?;
    let attached = on_packet.attach(cgroups, way, CgroupAttachMode::Single);
    attached.map_err(|error| Refused::new("attach to the packets of the root cgroup", &error))?;
    Ok(())
}

/// One of the kernel's hooks, and whether it lets us.
pub struct Hook {
    pub name: &'static str,
    /// What comes from it.
    pub gives: &'static str,
    pub refused: Option<Refused>,
}

/// Tries every hook that the program uses, one by one; nothing is left attached.
pub fn try_hooks(cgroups: Option<&Path>) -> Result<Vec<Hook>, Refused> {
    let btf = Btf::from_sys_fs().map_err(|error| Refused::new("read the kernel's types (BTF)", &error))?;
    let mut loader = EbpfLoader::new();
    let mut ebpf = loader.btf(Some(&btf)).load(OBJECT).map_err(|e| Refused::new("create the program's maps", &e))?;
    let (sockets, peers) = (map_fd(&ebpf, "sockets")?, map_fd(&ebpf, "peers")?);
    let opened = cgroups.map(File::open).transpose().ok().flatten();
    let root = || {
        opened.as_ref().ok_or_else(|| Refused {
            what: "open where cgroup2 is mounted",
            errno: None,
            why: "it is mounted nowhere, or may not be opened".into(),
        })
    };
    let mut hooks = Vec::new();
    let mut hook = |name, gives, result: Result<(), Refused>| {
        hooks.push(Hook { name, gives, refused: result.err() });
    };
    hook("tp_btf/inet_sock_set_state", "TCP connections", attach_state(&mut ebpf, &btf));
    hook("tp_btf/tcp_destroy_sock", "TCP connections whose end was missed", attach_destroy(&mut ebpf, &btf));
    let snapshot = iterator(&mut ebpf, "snapshot", "bpf_sk_storage_map", &btf, Some(sockets.as_fd()));
    hook("iter/bpf_sk_storage_map", "TCP connections that are open", snapshot.map(drop));
    let find = iterator(&mut ebpf, "find", "task_file", &btf, None);
    hook("iter/task_file", "sockets that were open before", find.map(drop));
    let create = root().and_then(|root| attach_create(&mut ebpf, root));
    hook("cgroup/sock_create", "whose a UDP socket is", create);
    for (name, program, way) in [
        ("cgroup_skb/ingress", "on_received", CgroupSkbAttachType::Ingress),
        ("cgroup_skb/egress", "on_sent", CgroupSkbAttachType::Egress),
    ] {
        hook(name, "packets of UDP", root().and_then(|root| attach_packets(&mut ebpf, root, program, way)));
    }
    let peers = iterator(&mut ebpf, "snapshot_udp", "bpf_map_elem", &btf, Some(peers.as_fd()));
    hook("iter/bpf_map_elem", "what UDP sockets have had with whom", peers.map(drop));
    Ok(hooks)
}

/// A descriptor of a map that is ours.
fn map_fd(ebpf: &Ebpf, name: &'static str) -> Result<OwnedFd, Refused> {
    let fd = match ebpf.map(name) {
        Some(Map::SkStorage(map) | Map::HashMap(map)) => map.fd().as_fd().try_clone_to_owned(),
        _ => return Err(damaged(name)),
    };
    fd.map_err(|error| Refused::new("keep a map", &error))
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
