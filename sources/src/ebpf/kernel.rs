//! Where records come from: the program in the kernel. What it tells may be written to a file as well.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use weir_core::Fault;
use weir_core::host::cgroup;
use weir_ebpf::conntrack::Conntrack;
use weir_ebpf::records::{Raw, Record};
use weir_ebpf::{Program, Refused, Scope, Wanted, monotonic_nanos};

use super::Tells;
use super::meter::Event;
use super::recording::{self, CLOSED, FOUND, Kind, OPEN};

/// A UDP socket and a peer that have had nothing for each other for so long are told of for the last time.
const UDP_IDLE_NANOS: u64 = 60_000_000_000;
/// The same while half of the room for them is taken, which is looked at so often.
const UDP_IDLE_CROWDED_NANOS: u64 = 2_000_000_000;
const CROWDED_AGAIN_NANOS: u64 = 1_000_000_000;

/// The program in the kernel, and the file that it is written to.
pub struct Kernel {
    program: Program,
    recording: Option<Recording>,
    fault: Option<Fault>,
    peers_max: u64,
    /// Peers of UDP sockets that were forgotten.
    forgotten: u64,
    /// When it was last looked for peers to be forgotten, because there were many.
    cleared: Option<u64>,
    /// Why there is no more of it, as an error or for good.
    conntrack: io::Result<Option<Conntrack>>,
}

struct Recording {
    file: File,
    path: PathBuf,
    /// What is not written yet.
    bytes: Vec<u8>,
}

impl Kernel {
    /// `cgroups` is where cgroup2 is mounted, if it is: packets of UDP are counted there.
    /// The second error is of what the kernel refuses, the first of everything else.
    pub fn open(wanted: Wanted, cgroups: Option<&Path>, to: Option<&Path>) -> Result<Result<Kernel, Refused>, Fault> {
        let program = match Program::attach(wanted, cgroups) {
            Ok(program) => program,
            Err(refused) => return Ok(Err(refused)),
        };
        let recording = to.map(Recording::create).transpose()?;
        let peers_max = wanted.peers_max.into();
        Ok(Ok(Kernel {
            program,
            recording,
            fault: None,
            peers_max,
            forgotten: 0,
            cleared: None,
            conntrack: Conntrack::open(),
        }))
    }

    /// Why translated addresses are not known, if they are not.
    pub fn without_conntrack(&self) -> Option<String> {
        let told = "addresses that are translated on the way are told as sockets see them";
        match &self.conntrack {
            Ok(Some(_)) => None,
            Ok(None) => Some(format!("connections are not tracked here: if there are any, {told}")),
            Err(error) => Some(format!("cannot read the kernel's conntrack: {error}: {told}; it needs CAP_NET_ADMIN")),
        }
    }

    /// Translations go before the connections that they are of.
    fn translations(&mut self, into: &mut Vec<Event>) {
        let Kernel { conntrack: Ok(Some(conntrack)), recording, .. } = self else { return };
        let result = conntrack.look(|translation| {
            write(recording, |bytes| recording::translated(&translation, bytes));
            into.push(Event::Translated(translation));
        });
        if let Err(error) = result {
            self.conntrack = Err(error);
        }
    }

    /// Connections may be tracked only later than we came, and what failed once may work again.
    fn open_conntrack(&mut self) {
        if !matches!(self.conntrack, Ok(Some(_))) {
            self.conntrack = Conntrack::open();
        }
    }

    /// What of UDP is not counted, where only a part of the cgroups is to be seen.
    pub fn part_of_udp(&self, cgroups: Option<&Path>) -> Option<String> {
        let root = cgroups.filter(|root| self.program.udp_refused().is_none() && cgroup::is_part(root))?;
        Some(format!(
            "UDP is counted only below `{}`, which is a part of the host's cgroups: mount the host's own as well",
            root.display()
        ))
    }

    /// Why UDP is not counted, if it is not, and what would change that.
    pub fn without_udp(&self) -> Option<String> {
        let refused = self.program.udp_refused()?;
        let help = match refused.errno {
            Some(libc::EPERM) => "; it needs CAP_NET_ADMIN beside the others",
            None => "; mount cgroup2, as most systems do at /sys/fs/cgroup",
            Some(_) => "",
        };
        Some(format!("UDP is not counted: {refused}{help}"))
    }
}

impl Tells for Kernel {
    fn what(&self) -> &'static str {
        match self.program.udp_refused() {
            None => "a program in the kernel tells of TCP and UDP (BPF)",
            Some(_) => "a program in the kernel tells of TCP (BPF)",
        }
    }

    fn begin(&mut self, now: i64, into: &mut Vec<Event>) -> io::Result<()> {
        self.clock(now, into);
        self.cut(now, into)
    }

    fn look(&mut self, now: i64, into: &mut Vec<Event>) {
        self.clock(now, into);
        self.closed(into);
        if self.is_crowded() {
            self.cleared = Some(monotonic_nanos());
            let all = self.peers();
            self.forget(all, UDP_IDLE_CROWDED_NANOS, into);
        }
        self.write_out();
    }

    fn cut(&mut self, at: i64, into: &mut Vec<Event>) -> io::Result<()> {
        self.open_conntrack();
        let Kernel { program, recording, .. } = self;
        program.find(|raw| tell(&FOUND, raw, recording, into))?;
        let mut open = Vec::new();
        program.open(|raw| open.push(*raw))?;
        let peers = self.peers();
        self.translations(into);
        write(&mut self.recording, |bytes| recording::cut(at, bytes));
        into.reserve(open.len() + peers.len() + 2);
        into.push(Event::Cut(at));
        open.iter().chain(&peers).for_each(|raw| tell(&OPEN, raw, &mut self.recording, into));
        self.forget(peers, UDP_IDLE_NANOS, into);
        // Those that have closed meanwhile may be missing above.
        self.closed(into);
        let losses = self.program.losses()?;
        write(&mut self.recording, |bytes| recording::done(&losses, bytes));
        into.push(Event::Done(losses));
        self.write_out();
        Ok(())
    }

    fn end(&mut self, now: i64, into: &mut Vec<Event>) -> io::Result<()> {
        self.look(now, into);
        write(&mut self.recording, recording::ending);
        into.push(Event::Ending);
        self.cut(now, into)
    }

    fn take_fault(&mut self) -> Option<Fault> {
        self.fault.take()
    }

    fn finish(&mut self) -> Option<Fault> {
        self.write_out();
        self.fault.take()
    }
}

impl Kernel {
    /// Whether there is little room left for peers of UDP sockets.
    fn is_crowded(&self) -> bool {
        if self.cleared.is_some_and(|at| at.saturating_add(CROWDED_AGAIN_NANOS) > monotonic_nanos()) {
            return false;
        }
        let made = self.program.losses().map_or(0, |losses| losses.peers);
        made.saturating_sub(self.forgotten) > self.peers_max / 2
    }

    /// What every UDP socket has had with each peer. What cannot be read now is told next time.
    fn peers(&self) -> Vec<Raw> {
        let mut all = Vec::new();
        let _ = self.program.open_udp(|raw| all.push(*raw));
        all
    }

    /// Forgets those that were idle for so long.
    fn forget(&mut self, all: Vec<Raw>, idle_nanos: u64, into: &mut Vec<Event>) {
        let now = monotonic_nanos();
        let is_idle =
            |raw: &Raw| Record::read(raw).is_some_and(|record| record.active.saturating_add(idle_nanos) <= now);
        for raw in all.iter().filter(|raw| is_idle(raw)) {
            if let Ok(Some(last)) = self.program.forget(raw) {
                self.forgotten += 1;
                tell(&CLOSED, &last, &mut self.recording, into);
            }
        }
    }

    fn closed(&mut self, into: &mut Vec<Event>) {
        let mut closed = Vec::new();
        self.program.closed(|raw| closed.push(*raw));
        self.translations(into);
        closed.iter().for_each(|raw| tell(&CLOSED, raw, &mut self.recording, into));
    }

    fn clock(&mut self, now: i64, into: &mut Vec<Event>) {
        let monotonic = monotonic_nanos();
        write(&mut self.recording, |bytes| recording::clock(now, monotonic, bytes));
        into.push(Event::Clock { wall: now, monotonic });
    }

    /// A file that cannot be written ends; the flows go on.
    fn write_out(&mut self) {
        let Some(recording) = &mut self.recording else { return };
        if let Err(error) = recording.file.write_all(&recording.bytes) {
            let path = recording.path.display();
            self.fault = Some(Fault::environment(format!("cannot write `{path}`: {error}: the recording ends there")));
            self.recording = None;
            return;
        }
        recording.bytes.clear();
    }
}

impl Recording {
    fn create(path: &Path) -> Result<Recording, Fault> {
        let failed = |error| Fault::environment(format!("cannot write `{}`: {error}", path.display()));
        let file = File::create(path).map_err(failed)?;
        Ok(Recording { file, path: path.into(), bytes: recording::MAGIC.to_vec() })
    }
}

/// Passes a record on, and writes it to the file.
fn tell(kind: &Kind, raw: &Raw, recording: &mut Option<Recording>, into: &mut Vec<Event>) {
    if let Some(record) = Record::read(raw) {
        write(recording, |bytes| recording::record(kind, raw, bytes));
        into.push((kind.event)(record));
    }
}

fn write(recording: &mut Option<Recording>, write: impl FnOnce(&mut Vec<u8>)) {
    if let Some(recording) = recording {
        write(&mut recording.bytes);
    }
}

/// The file of our own network namespace.
const OWN: &str = "/proc/self/ns/net";

/// Which network namespace is meant, by its inode; nothing for all of them.
pub fn namespace(netns: &str) -> Result<Option<u32>, Fault> {
    match netns {
        "all" => Ok(None),
        "own" => inode(OWN).map(Some),
        path => inode(path).map(Some),
    }
}

/// The same where no program counts them.
pub fn scope(netns: &str) -> Scope<'_> {
    match netns {
        "all" => Scope::All,
        "own" => Scope::Own,
        path => Scope::One(Path::new(path)),
    }
}

/// Which network namespace a file stands for.
fn inode(path: &str) -> Result<u32, Fault> {
    let fault = |why: String| {
        let fault = Fault::environment(format!("`{path}` is no network namespace{why}"));
        fault.help("name one like \"/proc/1/ns/net\" or \"/run/netns/shop\", or take `all` or `own`")
    };
    let meta = |path: &str| std::fs::metadata(path).map_err(|error| fault(format!(": {error}")));
    let (file, own) = (meta(path)?, meta(OWN)?);
    match u32::try_from(file.ino()) {
        // All of them are files of one device.
        Ok(inode) if file.dev() == own.dev() => Ok(inode),
        _ => Err(fault(String::new())),
    }
}

/// What is missing, in the words of whoever can give it.
pub fn help(refused: &Refused) -> &'static str {
    let is_loading = refused.what.starts_with("load");
    match refused.errno {
        // When it loads a program, the kernel says so of what its verifier does not take.
        Some(libc::EACCES | libc::EINVAL) if is_loading => {
            "this kernel does not take the program, as those from 5.15 on should: please report what it says"
        }
        Some(libc::EPERM | libc::EACCES) => {
            "it needs CAP_BPF and CAP_PERFMON (or root); in a container also its runtime's leave for bpf(2)"
        }
        _ => "it needs a kernel from 5.15 on with its types (/sys/kernel/btf/vmlinux)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_way_out() {
        let said = |what, errno| help(&Refused { what, errno, why: String::new() });
        let [load, maps] = ["load the program for x", "create the program's maps"];
        assert!([said(load, Some(libc::EPERM)), said(maps, Some(libc::EACCES))].iter().all(|s| s.contains("CAP_BPF")));
        assert!([libc::EACCES, libc::EINVAL].iter().all(|errno| said(load, Some(*errno)).contains("report")));
        assert!([Some(libc::ENOENT), Some(libc::EINVAL), None].iter().all(|errno| said(maps, *errno).contains("5.15")));
    }
}
