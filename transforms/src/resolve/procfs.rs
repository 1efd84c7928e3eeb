//! `procfs`: what a host says of its processes. Processes are looked at all the time, not only when somebody asks:
//! when a conversation is told of, its process may be gone. A thread does that, because a file of a process that hangs
//! keeps its reader waiting.
//!
//! Reading order: [`host`] (how they are read), [`known`] (what is known of them), [`look`] (who looks, and when).

mod host;
mod known;
mod look;

use std::path::Path;
use std::sync::Arc;

use weir_core::bell::Bell;
use weir_core::ledger::Counts;
use weir_core::{BuildCx, Clock};
use weir_spec::Values;
use weir_spec::component::ReasonSpec;
use weir_spec::option::{OptionType, PartSpec};

use super::end::End;
use super::tags::Tags;
use super::{Answer, Built, Kind, Patience, Resolver, read};
use host::Host;
use known::{FACTS_BYTES, Found};
use look::{HANGS, Look, State};

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

pub const NOTES: &[ReasonSpec] = &[
    ReasonSpec { name: "procfs_hits", doc: "ends whose process was known" },
    ReasonSpec { name: "procfs_misses", doc: "ends with a process of which nothing could be read" },
    ReasonSpec { name: "procfs_stale", doc: "ends whose process is another by now" },
    ReasonSpec { name: "procfs_evicted", doc: "processes that were forgotten for want of room" },
];

/// Tags that it may give.
const KEYS: &[&str] = &["process", "exe", "service", "env", "version", "container_id", "pod_uid", "systemd_unit"];

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
    let look = Look::begin(host, bell.clone());
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
