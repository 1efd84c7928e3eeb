//! Who looks at processes, and when: a thread, and another one when a process keeps it waiting.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use weir_core::bell::Bell;

use super::host::Host;
use super::known::{Facts, Process, Stat};

/// How often all processes are looked at, and how many times longer than that takes the pause has to be, at most.
const LOOK: Duration = Duration::from_secs(2);
const PAUSES: u32 = 200;
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// For how long it is known when a process was looked at.
const LOOKED_KEPT: Duration = Duration::from_secs(60);
/// Processes that are asked about and not looked at yet, at most; of others what is known has to do.
const QUESTIONS_MAX: usize = 1 << 16;
/// A process whose files take longer than that hangs: another thread goes on without it. So many hang at most; when
/// there is one more, it is waited for.
pub const HANGS: Duration = Duration::from_secs(1);
const HANGING_MAX: usize = 8;
/// After so long nobody waits any more for a process that hangs.
const HOPELESS: Duration = Duration::from_secs(10);

/// Looks at processes, for as long as somebody may ask.
pub struct Look {
    pub host: Host,
    state: Mutex<State>,
    /// Something was asked, or it is over.
    pub asked: Condvar,
    bell: Bell,
}

#[derive(Default)]
pub struct State {
    pub facts: Facts,
    questions: BTreeSet<i32>,
    /// When each was looked at last.
    looked: HashMap<i32, Instant>,
    /// The thread that looks, of those that were started, and what it is at.
    thread: usize,
    at: Option<(i32, Instant)>,
    /// Processes that hang, and since when.
    hanging: HashMap<i32, Instant>,
    pub is_over: bool,
}

impl Look {
    pub fn begin(host: Host, bell: Bell) -> Arc<Look> {
        let look = Arc::new(Look::new(host, bell));
        look.start(&mut look.lock());
        look
    }

    fn new(host: Host, bell: Bell) -> Look {
        Look { host, state: Mutex::default(), asked: Condvar::new(), bell }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a thread that takes the place of the one before.
    pub fn start(self: &Arc<Look>, state: &mut State) {
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
    pub fn is_looked_at(&mut self, pid: i32, since: Instant) -> bool {
        let is_known = self.looked.get(&pid).is_some_and(|looked| *looked >= since);
        let is_hopeless = self.hanging.get(&pid).is_some_and(|since| since.elapsed() > HOPELESS);
        if is_known || is_hopeless || self.questions.len() >= QUESTIONS_MAX {
            return true;
        }
        self.questions.insert(pid);
        false
    }

    /// The process that keeps the thread waiting, if there may be another thread.
    pub fn hung(&mut self) -> Option<i32> {
        let (pid, since) = self.at?;
        let is_hung = since.elapsed() > HANGS && self.hanging.len() < HANGING_MAX;
        (is_hung && self.hanging.insert(pid, since).is_none()).then_some(pid)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::host::tests::Files;
    use super::super::known::{Found, KEPT};
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn look(host: Host) -> Look {
        let look = Look::new(host, Bell::default());
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
}
