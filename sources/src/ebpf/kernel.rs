//! Where records come from: the program in the kernel. What it tells may be written to a file as well.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use weir_core::Fault;
use weir_ebpf::records::{Raw, Record};
use weir_ebpf::{Program, Refused, monotonic_nanos};

use super::meter::Event;
use super::recording::{self, CLOSED, FOUND, Kind, OPEN};

/// The program in the kernel, and the file that it is written to.
pub struct Kernel {
    program: Program,
    recording: Option<Recording>,
    fault: Option<Fault>,
}

struct Recording {
    file: File,
    path: PathBuf,
    /// What is not written yet.
    bytes: Vec<u8>,
}

impl Kernel {
    pub fn open(netns: &str, to: Option<&Path>) -> Result<Kernel, Fault> {
        let netns = match netns {
            "all" => None,
            "own" => Some(inode(OWN)?),
            path => Some(inode(path)?),
        };
        let recording = to.map(Recording::create).transpose()?;
        let program = Program::attach(netns).map_err(refused)?;
        Ok(Kernel { program, recording, fault: None })
    }

    /// What is open already, and what it has counted: it is not counted again.
    pub fn begin(&mut self, now: i64, into: &mut Vec<Event>) -> io::Result<()> {
        self.clock(now, into);
        self.cut(now, into)
    }

    /// What has closed since the last time.
    pub fn look(&mut self, now: i64, into: &mut Vec<Event>) {
        self.clock(now, into);
        self.closed(into);
        self.write_out();
    }

    fn closed(&mut self, into: &mut Vec<Event>) {
        let Kernel { program, recording, .. } = self;
        program.closed(|raw| tell(&CLOSED, raw, recording, into));
    }

    /// All that is open, at the end of an interval.
    pub fn cut(&mut self, at: i64, into: &mut Vec<Event>) -> io::Result<()> {
        let Kernel { program, recording, .. } = self;
        program.find(|raw| tell(&FOUND, raw, recording, into))?;
        write(recording, |bytes| recording::cut(at, bytes));
        into.push(Event::Cut(at));
        program.open(|raw| tell(&OPEN, raw, recording, into))?;
        // Those that have closed meanwhile may be missing above.
        self.closed(into);
        let losses = self.program.losses()?;
        write(&mut self.recording, |bytes| recording::done(&losses, bytes));
        into.push(Event::Done(losses));
        self.write_out();
        Ok(())
    }

    /// All that has happened until now, for the last time.
    pub fn end(&mut self, now: i64, into: &mut Vec<Event>) -> io::Result<()> {
        self.look(now, into);
        write(&mut self.recording, recording::ending);
        into.push(Event::Ending);
        self.cut(now, into)
    }

    /// What went wrong with the file.
    pub fn take_fault(&mut self) -> Option<Fault> {
        self.fault.take()
    }

    /// Makes the file whole; what went wrong with it.
    pub fn finish(mut self) -> Option<Fault> {
        self.write_out();
        self.fault
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
fn refused(refused: Refused) -> Fault {
    let fault = Fault::environment(refused.to_string());
    match refused.errno {
        Some(libc::EPERM) => {
            fault.help("it needs CAP_BPF and CAP_PERFMON (or root); in a container also its runtime's leave for bpf(2)")
        }
        _ => fault.help("it needs a kernel from 5.15 on with its types (/sys/kernel/btf/vmlinux)"),
    }
}
