//! `procfs`: what a host says of its processes. Processes are looked at all the time, not only when somebody asks:
//! when a conversation is told of, its process may be gone. A thread does that, because a file of a process that hangs
//! keeps its reader waiting.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use weir_core::bell::Bell;
use weir_core::host::cgroup;
use weir_core::ledger::Counts;
use weir_core::{BuildCx, Clock};
use weir_spec::Values;
use weir_spec::option::{OptionType, PartSpec};

use super::end::End;
use super::tags::Tags;
use super::{Answer, Built, Kind, Patience, Resolver, read};

weir_spec::options! {
    pub struct ProcfsOptions {
        /// Where the host's processes are: `/host/proc` in a container that has them there.
        root: String = (OptionType::Str, positional, "\"/proc\""),
        /// Variables of processes' environments that become tags, in lower case, beside those of Datadog and OpenTelemetry.
        environment: Vec<String> = (OptionType::List(&OptionType::Str), "[]"),
    }
}

pub const SPEC: PartSpec = PartSpec {
    name: "procfs",
    summary: "tags of processes: command, service, container, pod, systemd unit",
    options: ProcfsOptions::SPECS,
    example: "procfs()",
};

/// Tags that it may give.
const KEYS: &[&str] = &["process", "exe", "service", "env", "version", "container_id", "pod_uid", "systemd_unit"];
/// Variables that say these, the ones that count more first.
const VARIABLES: &[(&str, &str)] =
    &[("DD_SERVICE", "service"), ("OTEL_SERVICE_NAME", "service"), ("DD_ENV", "env"), ("DD_VERSION", "version")];
/// The same in `OTEL_RESOURCE_ATTRIBUTES`.
const ATTRIBUTES: &[(&str, &str)] = &[
    ("service.name", "service"),
    ("deployment.environment.name", "env"),
    ("deployment.environment", "env"),
    ("service.version", "version"),
];

/// Processes of which something is known, at most; of those that are gone, the oldest are forgotten first.
const PROCESSES_MAX: usize = 1 << 14;
/// Of those that had one number after each other, the last ones.
const GENERATIONS_MAX: usize = 4;
/// What is known of one.
const PROCESS_BYTES: usize = 512;
/// What all of it may take.
const FACTS_BYTES: u64 = (PROCESSES_MAX * PROCESS_BYTES) as u64;
/// What is known of a process outlives it for so long: its last conversations are told of later, those of UDP a minute
/// and an interval.
const KEPT: Duration = Duration::from_secs(600);
/// How often all processes are looked at, and how many times longer than that takes the pause has to be, at most.
const LOOK: Duration = Duration::from_secs(2);
const PAUSES: u32 = 200;
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// For how long it is known when a process was looked at.
const LOOKED_KEPT: Duration = Duration::from_secs(60);
/// Processes that are forgotten at once when there is no more room.
const EVICTED: usize = 256;
/// Processes that are asked about and not looked at yet, at most; of others what is known has to do.
const QUESTIONS_MAX: usize = 1 << 16;
/// A process whose files take longer than that hangs: another thread goes on without it. So many hang at most; when
/// there is one more, it is waited for.
const HANGS: Duration = Duration::from_secs(1);
const HANGING_MAX: usize = 8;
/// After so long nobody waits any more for a process that hangs.
const HOPELESS: Duration = Duration::from_secs(10);
/// Bytes that are read of an environment, of a tag's value in it.
const ENVIRONMENT_BYTES_MAX: usize = 64 << 10;
const VALUE_BYTES_MAX: usize = 200;
/// A process may have begun so much later than its conversation: its clock ticks a hundred times a second.
const TICK_NANOS: i64 = 10_000_000;

/// The inode of the namespace that hosts begin with (`PROC_PID_INIT_INO` of linux/proc_ns.h).
const INITIAL_PID_NAMESPACE: u64 = 0xefff_fffc;
/// A process that has been there for so long is what it was started as.
const SETTLED_NANOS: i64 = 3_000_000_000;

/// Processes that are tried to see whether they can be looked at.
const PROBED: usize = 500;

/// What is missing below that folder, and what that costs.
pub fn trouble(root: &Path) -> Option<String> {
    Host { root: root.into(), environment: Vec::new() }.trouble()
}

pub const KIND: Kind = Kind { name: SPEC.name, keys, bytes: |_| FACTS_BYTES, file: |_| None, build };

/// The keys that it gives.
fn keys(values: &Values) -> Option<Vec<String>> {
    let more = ProcfsOptions::read(values).map(|options| options.environment).unwrap_or_default();
    Some(KEYS.iter().map(|key| key.to_string()).chain(more.iter().map(|name| name.to_lowercase())).collect())
}

fn build(values: &Values, cx: &BuildCx, bell: &Bell) -> Built {
    let options = read(values, ProcfsOptions::read)?;
    let host = Host { root: options.root.into(), environment: options.environment };
    if let Some(why) = host.trouble() {
        cx.counts.warn_once(&why);
    }
    let look = Arc::new(Look { host, state: Mutex::default(), asked: Condvar::new(), bell: bell.clone() });
    look.start(&mut look.lock());
    Ok(Box::new(Procfs { look, name: weir_core::host::name(), counts: cx.counts.clone(), noted: Noted::default() }))
}

/// Nanoseconds since the epoch. Processes live in the host's time, whatever the graph's is.
fn now() -> i64 {
    Clock::Real.now().0
}

struct Procfs {
    look: Arc<Look>,
    /// The host's name, as rows that were counted here have it.
    name: String,
    counts: Arc<Counts>,
    noted: Noted,
}

/// Looks at processes, for as long as somebody may ask.
struct Look {
    host: Host,
    state: Mutex<State>,
    /// Something was asked, or it is over.
    asked: Condvar,
    bell: Bell,
}

#[derive(Default)]
struct State {
    facts: Facts,
    questions: BTreeSet<i32>,
    /// When each was looked at last.
    looked: HashMap<i32, Instant>,
    /// The thread that looks, of those that were started, and what it is at.
    thread: usize,
    at: Option<(i32, Instant)>,
    /// Processes that hang, and since when.
    hanging: HashMap<i32, Instant>,
    is_over: bool,
}

impl Look {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a thread that takes the place of the one before.
    fn start(self: &Arc<Look>, state: &mut State) {
        state.thread += 1;
        state.at = None;
        let (look, number) = (self.clone(), state.thread);
        // Without a thread nobody answers, and rows say so.
        let _ = std::thread::Builder::new().name("weir-procfs".into()).spawn(move || look.run(number));
    }

    fn run(&self, thread: usize) {
        let mut next = Instant::now();
        while let Some(todo) = self.wait(thread, next) {
            match todo {
                Todo::One(pid) => self.look_at(thread, pid),
                Todo::All => {
                    let Some(pause) = self.look_at_all(thread) else { return };
                    next = Instant::now() + pause;
                }
            }
        }
    }

    /// What is to be done, all processes at their time whatever is asked. Nothing for a thread that has to end.
    fn wait(&self, thread: usize, next: Instant) -> Option<Todo> {
        let left = next.saturating_duration_since(Instant::now());
        let is_idle = |state: &mut State| state.questions.is_empty() && state.is_at_work(thread);
        let waited = self.asked.wait_timeout_while(self.lock(), left, is_idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if !state.is_at_work(thread) {
            return None;
        }
        let question = if Instant::now() < next { state.questions.pop_first() } else { None };
        Some(question.map_or(Todo::All, Todo::One))
    }

    /// Looks at all processes, and in between at those that are asked for. How long to wait before the next time.
    fn look_at_all(&self, thread: usize) -> Option<Duration> {
        let begun = Instant::now();
        let pids = self.host.pids();
        for pid in &pids {
            let asked = {
                let mut state = self.lock();
                if !state.is_at_work(thread) {
                    return None;
                }
                state.questions.pop_first()
            };
            asked.into_iter().for_each(|asked| self.look_at(thread, asked));
            self.look_at(thread, *pid);
        }
        let host_began = self.host.began();
        let mut state = self.lock();
        state.facts.host_began = host_began.or(state.facts.host_began);
        state.facts.forget(&pids, Instant::now());
        state.looked.retain(|_, looked| looked.elapsed() < LOOKED_KEPT);
        state.hanging.retain(|pid, _| pids.contains(pid));
        Some((begun.elapsed() * PAUSES).clamp(LOOK, PAUSE_MAX))
    }

    fn look_at(&self, thread: usize, pid: i32) {
        let begun = Instant::now();
        {
            let mut state = self.lock();
            if state.hanging.contains_key(&pid) || !state.is_at_work(thread) {
                return;
            }
            state.at = Some((pid, begun));
        }
        let found = self.host.stat(pid).and_then(|stat| self.read(pid, stat));
        let host_began = found.as_ref().and_then(|_| self.host.began());
        let mut state = self.lock();
        state.hanging.remove(&pid);
        state.facts.host_began = host_began.or(state.facts.host_began);
        found.into_iter().for_each(|process| state.facts.add(pid, process));
        state.looked.insert(pid, begun);
        // Who hung once may come back after another has taken its place.
        if state.is_at_work(thread) {
            state.at = None;
        }
        if state.questions.is_empty() {
            drop(state);
            self.bell.ring();
        }
    }

    /// What is not known of a process yet.
    fn read(&self, pid: i32, stat: Stat) -> Option<Process> {
        let is_known = self.lock().facts.is_known(pid, &stat);
        if is_known { None } else { self.host.process(pid, stat) }
    }
}

enum Todo {
    One(i32),
    All,
}

impl State {
    /// Whether it is this thread that looks.
    fn is_at_work(&self, thread: usize) -> bool {
        !self.is_over && self.thread == thread
    }

    /// Whether a process was looked at since then. If not, it will be.
    fn is_looked_at(&mut self, pid: i32, since: Instant) -> bool {
        let is_known = self.looked.get(&pid).is_some_and(|looked| *looked >= since);
        let is_hopeless = self.hanging.get(&pid).is_some_and(|since| since.elapsed() > HOPELESS);
        if is_known || is_hopeless || self.questions.len() >= QUESTIONS_MAX {
            return true;
        }
        self.questions.insert(pid);
        false
    }

    /// The process that keeps the thread waiting, if there may be another thread.
    fn hung(&mut self) -> Option<i32> {
        let (pid, since) = self.at?;
        let is_hung = since.elapsed() > HANGS && self.hanging.len() < HANGING_MAX;
        (is_hung && self.hanging.insert(pid, since).is_none()).then_some(pid)
    }
}

impl Drop for Procfs {
    fn drop(&mut self) {
        self.look.lock().is_over = true;
        self.look.asked.notify_all();
    }
}

#[derive(Default)]
struct Noted {
    hits: u64,
    misses: u64,
    stale: u64,
}

impl Procfs {
    /// Processes of other hosts have the same numbers. Where a row does not say of which host it is, as one that was
    /// recorded, what it says of its process has to fit.
    fn find(&self, end: &End, pid: i32, patience: Patience) -> Option<Found> {
        if end.host.is_some_and(|host| host != self.name) {
            return Some(Found::Other);
        }
        let mut state = self.look.lock();
        if let Patience::Since(since) = patience
            && !state.is_looked_at(pid, since)
        {
            self.look.asked.notify_one();
            self.go_on(&mut state);
            return None;
        }
        let found = state.facts.of(pid, (end.start.unwrap_or(i64::MIN), end.end.unwrap_or(i64::MAX)));
        let fits = |process: &[String], told: &str| {
            process.iter().any(|tag| tag.strip_prefix("process:").is_some_and(|name| name.starts_with(told)))
        };
        Some(match (&found, end.host, end.process) {
            (Found::Process(process), None, Some(told)) if !fits(process, told) => Found::Other,
            _ => found,
        })
    }

    /// Leaves a process alone that hangs.
    fn go_on(&self, state: &mut State) {
        let Some(pid) = state.hung() else { return };
        let folder = self.look.host.of(pid);
        self.counts.warn_once(&format!(
            "`{}` did not answer within {}: others are looked at without it",
            folder.display(),
            weir_spec::units::duration(HANGS.as_nanos() as i64)
        ));
        self.look.start(state);
    }
}

impl Resolver for Procfs {
    fn look_up(&mut self, end: &End, tags: &mut Tags, patience: Patience) -> Answer {
        let Some(pid) = end.pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0) else {
            return Answer::Given;
        };
        match self.find(end, pid, patience) {
            None => return Answer::Pending,
            Some(Found::Process(process)) => {
                self.noted.hits += 1;
                tags.add(process.iter().map(String::as_str));
                return Answer::Given;
            }
            Some(Found::Other) => self.noted.stale += 1,
            Some(Found::None) => self.noted.misses += 1,
        }
        // The kernel has said so much itself.
        let told = [("process", end.process), ("container_id", end.container)];
        let told: Vec<String> = told.iter().filter_map(|(key, value)| Some(format!("{key}:{}", (*value)?))).collect();
        tags.add(told.iter().map(String::as_str));
        Answer::Given
    }

    fn count(&mut self, counts: &Counts) {
        let Noted { hits, misses, stale } = std::mem::take(&mut self.noted);
        counts.add_noted("procfs_hits", hits);
        counts.add_noted("procfs_misses", misses);
        counts.add_noted("procfs_stale", stale);
        counts.add_noted("procfs_evicted", std::mem::take(&mut self.look.lock().facts.evicted));
    }
}

/// What tells a process from others that had its number, and from what it was before it became another program.
#[derive(Clone, Debug, PartialEq)]
struct Stat {
    /// When it began, in ticks since the host did: what clock its conversations come with is another thing.
    ticks: u64,
    command: String,
}

/// What is known of a process.
#[derive(Clone, Debug, PartialEq)]
struct Process {
    stat: Stat,
    /// Whether it had begun long enough before it was read: until then it may still be a copy of who started it.
    is_settled: bool,
    /// When it was seen to be gone.
    gone: Option<Instant>,
    tags: Arc<[String]>,
}

impl Process {
    /// When it began, in nanoseconds since the epoch, if it is known when the host did.
    fn began(&self, host_began: Option<i64>) -> i64 {
        let since = self.stat.ticks.saturating_mul(TICK_NANOS as u64);
        host_began.map_or(i64::MIN, |began| began.saturating_add_unsigned(since))
    }
}

enum Found {
    Process(Arc<[String]>),
    /// The process that has this number is another one.
    Other,
    None,
}

/// Processes by their numbers. One number may have been several processes', the last one last.
#[derive(Default)]
struct Facts {
    processes: HashMap<i32, Vec<Process>>,
    /// When the host began, by its clock as it was last seen: it may be set.
    host_began: Option<i64>,
    evicted: u64,
}

impl Facts {
    fn is_known(&self, pid: i32, stat: &Stat) -> bool {
        let last = self.processes.get(&pid).and_then(|all| all.last());
        last.is_some_and(|last| last.stat == *stat && last.is_settled && last.gone.is_none())
    }

    fn add(&mut self, pid: i32, process: Process) {
        if self.processes.len() >= PROCESSES_MAX && !self.processes.contains_key(&pid) {
            self.evict();
        }
        let all = self.processes.entry(pid).or_default();
        match all.last_mut() {
            Some(last) if last.stat.ticks == process.stat.ticks => *last = process,
            last => {
                if let Some(last) = last {
                    last.gone.get_or_insert_with(Instant::now);
                }
                if all.len() == GENERATIONS_MAX {
                    all.remove(0);
                }
                all.push(process);
            }
        }
    }

    /// Forgets processes that have been gone for long.
    fn forget(&mut self, alive: &[i32], now: Instant) {
        let alive: HashSet<i32> = alive.iter().copied().collect();
        self.processes.retain(|pid, all| {
            if !alive.contains(pid)
                && let Some(last) = all.last_mut()
            {
                last.gone.get_or_insert(now);
            }
            all.retain(|process| process.gone.is_none_or(|gone| now.saturating_duration_since(gone) < KEPT));
            !all.is_empty()
        });
    }

    /// Makes room: of the processes that are gone the oldest go, or else any.
    fn evict(&mut self) {
        let gone = |all: &[Process]| all.last().and_then(|last| last.gone);
        let key = |all: &[Process]| gone(all).map_or((true, None), |at| (false, Some(at)));
        let mut all: Vec<_> = self.processes.iter().map(|(pid, all)| (key(all), *pid)).collect();
        all.sort_unstable();
        let evicted = all.into_iter().take(EVICTED).filter_map(|(_, pid)| self.processes.remove(&pid));
        self.evicted += evicted.count() as u64;
    }

    /// The process that had this number during these times.
    fn of(&self, pid: i32, (start, end): (i64, i64)) -> Found {
        let Some(known) = self.processes.get(&pid) else { return Found::None };
        let (now, end) = (now(), end.saturating_add(TICK_NANOS));
        let before_now = |instant: Instant| now.saturating_sub_unsigned(instant.elapsed().as_nanos() as u64);
        let was_there = |process: &&Process| {
            process.began(self.host_began) <= end && process.gone.is_none_or(|gone| before_now(gone) >= start)
        };
        match known.iter().rev().find(was_there) {
            Some(process) => Found::Process(process.tags.clone()),
            None => Found::Other,
        }
    }
}

/// Where processes are read.
#[derive(Clone)]
struct Host {
    root: PathBuf,
    environment: Vec<String>,
}

impl Host {
    /// What is missing here, and what that costs.
    fn trouble(&self) -> Option<String> {
        let root = self.root.display();
        if self.stat(1).is_none() {
            return Some(format!(
                "`{root}` does not show process 1: of processes only what the kernel says with a conversation is known; \
                 mount the host's /proc there, without `hidepid`"
            ));
        }
        // The kernel counts by the numbers that processes have on the host.
        let is_apart = fs::metadata("/proc/self/ns/pid").is_ok_and(|meta| meta.ino() != INITIAL_PID_NAMESPACE);
        if is_apart && self.root == Path::new("/proc") {
            return Some(
                "`/proc` has the processes of a container, by numbers of its own: mount the host's, and say \
                 `procfs(\"/host/proc\")`"
                    .to_string(),
            );
        }
        // One of another user is closed where one's own are not.
        let pids = self.pids().into_iter().take(PROBED);
        let is_refused = |pid: i32| {
            let error = fs::File::open(self.of(pid).join("environ")).err();
            // It may have gone meanwhile.
            error.is_some_and(|error| error.kind() != std::io::ErrorKind::NotFound)
        };
        let pid = pids.into_iter().find(|pid| is_refused(*pid))?;
        Some(format!(
            "`{root}/{pid}/environ` cannot be read: services that others run are not known; it needs CAP_SYS_PTRACE and \
             CAP_DAC_READ_SEARCH"
        ))
    }

    fn of(&self, pid: i32) -> PathBuf {
        self.root.join(pid.to_string())
    }

    fn pids(&self) -> Vec<i32> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// Fields 2 and 22 of `proc_pid_stat(5)`.
    fn stat(&self, pid: i32) -> Option<Stat> {
        let stat = fs::read_to_string(self.of(pid).join("stat")).ok()?;
        // The command may have anything in it.
        let (before, behind) = stat.rsplit_once(')')?;
        let (_, command) = before.split_once('(')?;
        let ticks = behind.split_ascii_whitespace().nth(22 - 3)?.parse().ok()?;
        Some(Stat { ticks, command: command.to_string() })
    }

    /// When the host began, in nanoseconds since the epoch.
    fn began(&self) -> Option<i64> {
        let uptime = fs::read_to_string(self.root.join("uptime")).ok()?;
        let seconds: f64 = uptime.split(' ').next()?.parse().ok()?;
        Some(now().saturating_sub((seconds * 1e9) as i64))
    }

    fn process(&self, pid: i32, stat: Stat) -> Option<Process> {
        let folder = self.of(pid);
        let mut tags = vec![format!("process:{}", stat.command)];
        if let Ok(exe) = fs::read_link(folder.join("exe")) {
            let exe = exe.display().to_string();
            tags.push(format!("exe:{}", exe.strip_suffix(" (deleted)").unwrap_or(&exe)));
        }
        tags.extend(self.of_environment(&folder));
        tags.extend(of_cgroup(&folder));
        // If another one has got its number meanwhile, some of this is of that one.
        if self.stat(pid).as_ref() != Some(&stat) {
            return None;
        }
        let mut process = Process { stat, is_settled: false, gone: None, tags: tags.into() };
        process.is_settled = now().saturating_sub(process.began(self.began())) > SETTLED_NANOS;
        Some(process)
    }

    fn of_environment(&self, folder: &Path) -> Vec<String> {
        let Some(bytes) = read_some(&folder.join("environ")) else { return Vec::new() };
        let variables: HashMap<&str, &str> = bytes
            .split(|byte| *byte == 0)
            .filter_map(|variable| std::str::from_utf8(variable).ok()?.split_once('='))
            .filter(|(_, value)| !value.is_empty() && value.len() <= ENVIRONMENT_BYTES_MAX)
            .collect();
        let attributes: HashMap<&str, &str> = variables
            .get("OTEL_RESOURCE_ATTRIBUTES")
            .map(|all| {
                all.split(',').filter_map(|one| one.split_once('=')).map(|(k, v)| (k.trim(), v.trim())).collect()
            })
            .unwrap_or_default();
        let said = VARIABLES.iter().filter_map(|(name, key)| Some((*key, *variables.get(name)?)));
        let said = said.chain(ATTRIBUTES.iter().filter_map(|(name, key)| Some((*key, *attributes.get(name)?))));
        let mut tags: Vec<(String, &str)> = Vec::new();
        for (key, value) in said {
            if !tags.iter().any(|(told, _)| told == key) {
                tags.push((key.to_string(), value));
            }
        }
        let own =
            self.environment.iter().filter_map(|name| Some((name.to_lowercase(), *variables.get(name.as_str())?)));
        tags.extend(own);
        let short = tags.into_iter().filter(|(_, value)| value.len() <= VALUE_BYTES_MAX);
        short.map(|(key, value)| format!("{key}:{value}")).collect()
    }
}

/// A file's beginning, as far as it is looked at.
fn read_some(path: &Path) -> Option<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(ENVIRONMENT_BYTES_MAX as u64).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The container and pod that a process is in, or else the unit of systemd that it is of.
fn of_cgroup(folder: &Path) -> Vec<String> {
    let Ok(text) = fs::read_to_string(folder.join("cgroup")) else { return Vec::new() };
    let unit = cgroup::of_file(&text);
    if unit.container.is_none() && unit.pod.is_none() {
        return cgroup::systemd_unit(&text).map(|unit| format!("systemd_unit:{unit}")).into_iter().collect();
    }
    let told = [("container_id", unit.container), ("pod_uid", unit.pod)];
    told.into_iter().filter_map(|(key, value)| Some(format!("{key}:{}", value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    /// A host's processes as files.
    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Files {
            let files = Files(tempfile::tempdir().unwrap());
            fs::write(files.0.path().join("uptime"), "1000.00 5.0\n").unwrap();
            files
        }

        fn process(&self, pid: i32, ticks: u64, environ: &[u8], cgroup: &str) {
            let folder = self.0.path().join(pid.to_string());
            fs::create_dir_all(&folder).unwrap();
            let stat = format!("{pid} (a) b) S{} {ticks} 0 0\n", " 0".repeat(18));
            for (name, bytes) in [("stat", stat.as_bytes()), ("environ", environ)] {
                fs::write(folder.join(name), bytes).unwrap();
            }
            fs::write(folder.join("cgroup"), cgroup).unwrap();
        }

        fn host(&self, environment: &[&str]) -> Host {
            Host { root: self.0.path().into(), environment: environment.iter().map(|name| name.to_string()).collect() }
        }
    }

    fn look(host: Host) -> Look {
        let look = Look { host, state: Mutex::default(), asked: Condvar::new(), bell: Bell::default() };
        look.lock().thread = 1;
        look
    }

    /// What is said of a process that is looked at once more.
    fn of(look: &Look, pid: i32, times: (i64, i64)) -> Found {
        look.look_at(1, pid);
        look.lock().facts.of(pid, times)
    }

    fn tags(found: Found) -> Option<Vec<String>> {
        match found {
            Found::Process(tags) => Some(tags.to_vec()),
            _ => None,
        }
    }

    #[test]
    fn a_process_says_its_service_and_where_it_runs() {
        let files = Files::new();
        let id = "3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860";
        let environ = b"DD_SERVICE=shop\0DD_ENV=\0TEAM=a\0OTEL_RESOURCE_ATTRIBUTES=service.name=other, deployment.environment=prod\0\xff=x\0";
        files.process(7, 100, environ, &format!("0::/docker/{id}\n"));
        files.process(8, 100, b"", "0::/system.slice/nginx.service\n");
        let look = look(files.host(&["TEAM"]));
        let at = (i64::MIN, i64::MAX);
        let of_container = format!("container_id:{id}");
        let expected = ["process:a) b", "service:shop", "env:prod", "team:a", &of_container];
        assert_eq!(tags(of(&look, 7, at)).unwrap(), expected);
        assert_eq!(tags(of(&look, 8, at)).unwrap(), ["process:a) b", "systemd_unit:nginx.service"]);
        assert!(matches!(of(&look, 9, at), Found::None));
        let environ = b"OTEL_SERVICE_NAME=web\0DD_VERSION=1.2\0OTEL_RESOURCE_ATTRIBUTES=service.version=9\0";
        files.process(10, 100, environ, "");
        assert_eq!(tags(of(&look, 10, at)).unwrap(), ["process:a) b", "service:web", "version:1.2"]);
    }

    #[test]
    fn a_number_that_was_given_again_is_another_process() {
        let files = Files::new();
        let look = look(files.host(&[]));
        let began = look.host.began().unwrap();
        files.process(7, 1_000, b"DD_SERVICE=first\0", "");
        look.look_at(1, 7);
        files.process(7, 50_000, b"DD_SERVICE=second\0", "");
        let service = |start: i64, end: i64| {
            tags(of(&look, 7, (began + start * SECOND, began + end * SECOND))).map(|tags| tags[1].clone())
        };
        assert_eq!(service(501, 502).as_deref(), Some("service:second"));
        assert_eq!(service(15, 16).as_deref(), Some("service:first"));
        // Before either of them.
        assert_eq!(service(1, 2), None);
    }

    /// Between `fork` and `exec` a process is a copy of its parent.
    #[test]
    fn a_process_that_has_become_another_program_is_read_again() {
        let files = Files::new();
        let look = look(files.host(&[]));
        let service = || tags(of(&look, 7, (i64::MIN, i64::MAX))).map(|tags| tags[1].clone());
        // It begins now: the host has been there for a thousand seconds.
        files.process(7, 100_000, b"DD_SERVICE=parent\0", "");
        assert_eq!(service().as_deref(), Some("service:parent"));
        files.process(7, 100_000, b"DD_SERVICE=own\0", "");
        assert_eq!(service().as_deref(), Some("service:own"));
    }

    #[test]
    fn what_is_known_outlives_a_process_for_a_while() {
        let files = Files::new();
        let look = look(files.host(&[]));
        files.process(7, 1_000, b"DD_SERVICE=first\0", "");
        look.look_at_all(1);
        fs::remove_dir_all(files.0.path().join("7")).unwrap();
        look.look_at_all(1);
        assert!(tags(of(&look, 7, (i64::MIN, i64::MAX))).is_some());
        let later = Instant::now() + KEPT;
        look.lock().facts.forget(&[], later);
        assert!(matches!(of(&look, 7, (i64::MIN, i64::MAX)), Found::None));
    }

    /// The clock is set an hour back: what began before that has not begun later than its conversations.
    #[test]
    fn a_clock_that_was_set_moves_what_is_known() {
        let files = Files::new();
        let look = look(files.host(&[]));
        files.process(7, 50_000, b"", "");
        let began = look.host.began().unwrap();
        let has = |start: i64, end: i64| {
            let times = (began + start * SECOND, began + end * SECOND);
            matches!(look.lock().facts.of(7, times), Found::Process(_))
        };
        look.look_at(1, 7);
        assert!(has(501, 502) && !has(498, 499));
        look.lock().facts.host_began = Some(began - 3_600 * SECOND);
        assert!(has(501 - 3_600, 502 - 3_600) && !has(498 - 3_600, 499 - 3_600));
    }

    /// All processes are looked at in their time, however many are asked for.
    #[test]
    fn questions_do_not_keep_it_from_looking_at_all() {
        let look = look(Files::new().host(&[]));
        look.lock().questions = BTreeSet::from([7, 8]);
        let later = Instant::now() + Duration::from_secs(60);
        assert!(matches!(look.wait(1, later), Some(Todo::One(7))));
        assert!(matches!(look.wait(1, Instant::now()), Some(Todo::All)));
        assert!(matches!(look.wait(1, later), Some(Todo::One(8))));
        assert!(look.wait(2, later).is_none(), "another one is at work");
        look.lock().is_over = true;
        assert!(look.wait(1, later).is_none());
    }

    /// Who waits is told when nothing is left to be asked, and who hangs keeps nobody waiting.
    #[test]
    fn a_process_that_hangs_is_left_to_itself() {
        let mut state = State { thread: 1, ..State::default() };
        let now = Instant::now();
        assert!(!state.is_looked_at(7, now) && state.questions.contains(&7));
        state.looked.insert(7, Instant::now());
        assert!(state.is_looked_at(7, now));
        assert_eq!(state.hung(), None);
        state.at = Some((7, now));
        assert_eq!(state.hung(), None);
        state.at = now.checked_sub(HANGS + Duration::from_millis(1)).map(|since| (7, since));
        assert_eq!((state.hung(), state.hung()), (Some(7), None));
        state.at = now.checked_sub(2 * HANGS).map(|since| (8, since));
        state.hanging = (100..100 + HANGING_MAX as i32).map(|pid| (pid, now)).collect();
        assert_eq!(state.hung(), None);
        // In the end nobody waits for it.
        assert!(!state.is_looked_at(100, Instant::now()));
        state.hanging.extend(now.checked_sub(2 * HOPELESS).map(|since| (100, since)));
        assert!(state.is_looked_at(100, Instant::now()));
    }

    #[test]
    fn when_there_are_too_many_the_oldest_that_is_gone_goes() {
        let mut facts = Facts::default();
        let stat = Stat { ticks: 1, command: "x".into() };
        let now = Instant::now();
        let process = |gone| Process { stat: stat.clone(), is_settled: true, gone, tags: Arc::from([]) };
        for pid in 0..PROCESSES_MAX as i32 {
            facts.processes.insert(pid, vec![process((pid == 77).then_some(now))]);
        }
        facts.add(-1, process(None));
        assert!(!facts.processes.contains_key(&77) && facts.processes.contains_key(&-1));
        assert_eq!((facts.processes.len(), facts.evicted), (PROCESSES_MAX + 1 - EVICTED, EVICTED as u64));
    }

    #[test]
    fn what_is_missing_is_said() {
        let files = Files::new();
        assert!(files.host(&[]).trouble().unwrap().contains("hidepid"));
        files.process(1, 1, b"", "");
        assert_eq!(files.host(&[]).trouble(), None);
        let environ = files.0.path().join("1/environ");
        fs::remove_file(&environ).unwrap();
        // One that cannot be opened, whoever asks.
        std::os::unix::fs::symlink(&environ, &environ).unwrap();
        assert!(files.host(&[]).trouble().unwrap().contains("CAP_SYS_PTRACE"));
    }
}
