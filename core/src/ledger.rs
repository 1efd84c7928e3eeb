//! Counting every row once: `in + made = out + absorbed + held + dropped` for each component.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde::Serialize;

use crate::sync::lock;
use crate::terminal;

/// Why rows were dropped, in one word.
pub type Reason = Cow<'static, str>;

/// Reasons that the engine itself gives.
pub mod reason {
    /// The reader had already finished.
    pub const FINISHED: &str = "finished";
    /// The author wrote `on_full: drop_newest`.
    pub const QUEUE_FULL: &str = "queue_full";
    /// The sink gave up.
    pub const UNDELIVERED: &str = "undelivered";
    /// The far end refuses them for good.
    pub const REFUSED: &str = "refused";
    /// One row alone was more than the far end takes at once.
    pub const TOO_LARGE: &str = "too_large";
    /// The sink's reader went away.
    pub const CLOSED: &str = "closed";
}

/// How a sink gets on with its far end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    Fine,
    /// A payload is on its second try or later.
    Retrying,
    /// It has given up.
    Down,
}

/// What one component has done with its rows. Written by its own task, read by anyone.
#[derive(Default)]
pub struct Counts {
    input: AtomicU64,
    made: AtomicU64,
    out: AtomicU64,
    absorbed: AtomicU64,
    held: AtomicU64,
    dropped: Mutex<BTreeMap<Reason, u64>>,
    noted: Mutex<BTreeMap<&'static str, u64>>,
    /// Of sinks only.
    health: Mutex<Option<Health>>,
    /// What its last failed try said.
    trouble: Mutex<Option<String>>,
    /// What its user should know, once.
    warnings: Mutex<Vec<String>>,
}

/// Warnings kept of one component.
const WARNINGS_MAX: usize = 64;
/// Characters of a text that is told.
const TOLD_MAX: usize = 2_000;

/// A text as it may stand on a terminal. Names that clients chose and answers of far ends are in it: what would steer
/// the terminal is replaced, and what is endless cut.
fn shown(text: &str) -> String {
    let plain = |c: char| if matches!(c, '\n' | '\t') { c } else { terminal::plain(c) };
    let mut shown: String = text.chars().take(TOLD_MAX).map(plain).collect();
    if text.chars().nth(TOLD_MAX).is_some() {
        shown.push('…');
    }
    shown
}

impl Counts {
    pub fn add_in(&self, rows: usize) {
        self.input.fetch_add(rows as u64, Ordering::Relaxed);
    }
    pub fn add_made(&self, rows: usize) {
        self.made.fetch_add(rows as u64, Ordering::Relaxed);
    }
    pub fn add_out(&self, rows: usize) {
        self.out.fetch_add(rows as u64, Ordering::Relaxed);
    }
    pub fn add_absorbed(&self, rows: usize) {
        self.absorbed.fetch_add(rows as u64, Ordering::Relaxed);
    }
    pub fn add_dropped(&self, why: impl Into<Reason>, rows: usize) {
        if rows > 0 {
            *lock(&self.dropped).entry(why.into()).or_default() += rows as u64;
        }
    }
    /// What is worth counting beside rows: values a computation could not give, evictions.
    pub fn add_noted(&self, what: &'static str, n: u64) {
        if n > 0 {
            *lock(&self.noted).entry(what).or_default() += n;
        }
    }
    pub fn set_health(&self, health: Health) {
        *lock(&self.health) = Some(health);
    }
    /// Says why a sink is not fine.
    pub fn set_trouble(&self, why: impl Into<String>) {
        *lock(&self.trouble) = Some(shown(&why.into()));
    }
    /// Tells the user something that is no failure.
    pub fn warn(&self, text: String) {
        let mut warnings = lock(&self.warnings);
        if warnings.len() < WARNINGS_MAX {
            warnings.push(shown(&text));
        }
    }
    /// The same, if it was not told before.
    pub fn warn_once(&self, text: &str) {
        let text = shown(text);
        let is_told = lock(&self.warnings).contains(&text);
        if !is_told {
            self.warn(text);
        }
    }
    pub fn set_held(&self, rows: usize) {
        self.held.store(rows as u64, Ordering::Relaxed);
    }

    pub fn dropped(&self, why: &str) -> u64 {
        lock(&self.dropped).get(why).copied().unwrap_or(0)
    }

    /// What the equation leaves over: rows that must be held.
    pub fn rest(&self) -> i64 {
        let read = |a: &AtomicU64| a.load(Ordering::Relaxed) as i64;
        let dropped: u64 = lock(&self.dropped).values().sum();
        read(&self.input) + read(&self.made) - read(&self.out) - read(&self.absorbed) - dropped as i64
    }

    fn snapshot(&self, name: &str, component: &'static str) -> ComponentLedger {
        let read = |a: &AtomicU64| a.load(Ordering::Relaxed);
        ComponentLedger {
            name: name.to_string(),
            component,
            input: read(&self.input),
            made: read(&self.made),
            out: read(&self.out),
            absorbed: read(&self.absorbed),
            held: read(&self.held),
            dropped: lock(&self.dropped).iter().map(|(k, v)| (k.to_string(), *v)).collect(),
            health: *lock(&self.health),
            trouble: lock(&self.trouble).clone(),
            warnings: lock(&self.warnings).clone(),
            noted: lock(&self.noted).iter().map(|(k, v)| (k.to_string(), *v)).collect(),
        }
    }
}

/// What has passed one edge, inline or queued.
#[derive(Default)]
pub struct EdgeCounts {
    sent: AtomicU64,
    taken: AtomicU64,
}

impl EdgeCounts {
    pub fn add_sent(&self, rows: usize) {
        self.sent.fetch_add(rows as u64, Ordering::Relaxed);
    }
    pub fn add_taken(&self, rows: usize) {
        self.taken.fetch_add(rows as u64, Ordering::Relaxed);
    }
    /// Rows sent, and how many of them have not been taken yet.
    pub fn sent_and_queued(&self) -> (u64, u64) {
        // Taken is read first: what is taken in between then shows as sent and not as a negative queue.
        let taken = self.taken.load(Ordering::Relaxed);
        let sent = self.sent.load(Ordering::Relaxed);
        (sent, sent.saturating_sub(taken))
    }
}

/// One component of a [`Ledger`]. Counts are rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComponentLedger {
    pub name: String,
    pub component: &'static str,
    #[serde(rename = "in")]
    pub input: u64,
    pub made: u64,
    pub out: u64,
    pub absorbed: u64,
    pub held: u64,
    pub dropped: BTreeMap<String, u64>,
    /// Of a sink: how it gets on with its far end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Of a sink: what its last failed try said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Counted beside rows: values that a computation could not give, evictions.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub noted: BTreeMap<String, u64>,
}

impl ComponentLedger {
    pub fn balances(&self) -> bool {
        let dropped: u64 = self.dropped.values().sum();
        self.input + self.made == self.out + self.absorbed + self.held + dropped
    }
}

/// One edge of a [`Ledger`]. `sent` is what the reader took in plus what is queued.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EdgeLedger {
    pub from: String,
    pub output: String,
    pub to: String,
    pub sent: u64,
    pub queued: u64,
}

/// Where every row went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ledger {
    pub balanced: bool,
    pub components: Vec<ComponentLedger>,
    pub edges: Vec<EdgeLedger>,
}

impl Ledger {
    pub fn component(&self, name: &str) -> Option<&ComponentLedger> {
        self.components.iter().find(|c| c.name == name)
    }

    /// Rows that were accepted and neither delivered nor dropped by the author's wish: how many, and where they are.
    pub fn undelivered(&self) -> Vec<(u64, String)> {
        // What was accepted and is nowhere: given up, or refused without a reader.
        let reasons = [reason::UNDELIVERED, reason::REFUSED, reason::TOO_LARGE];
        let mut all = Vec::new();
        for component in &self.components {
            let name = &component.name;
            let lost = reasons.iter().filter_map(|why| Some((*component.dropped.get(*why)?, why)));
            all.extend(lost.map(|(rows, why)| (rows, format!("dropped by `{name}` as `{why}`"))));
            all.push((component.held, format!("held by `{name}`")));
        }
        all.extend(self.edges.iter().map(|edge| (edge.queued, format!("waiting for `{}`", edge.to))));
        all.retain(|(rows, _)| *rows > 0);
        all
    }
}

/// One number of a ledger, as metrics tell it.
pub struct Number {
    /// What of: `component.dropped`, `edge.queued`.
    pub of: &'static str,
    pub labels: Vec<(&'static str, String)>,
    /// Whether it only grows.
    pub is_counter: bool,
    pub value: u64,
}

impl Ledger {
    /// Everything it counts, component by component, then edge by edge.
    pub fn numbers(&self) -> Vec<Number> {
        let mut numbers = Vec::new();
        for component in &self.components {
            let labels = || vec![("component", component.name.clone()), ("component_type", component.component.into())];
            let mut add = |of, is_counter, more: Option<(&'static str, &String)>, value| {
                let more = more.map(|(name, word)| (name, word.clone()));
                numbers.push(Number { of, labels: labels().into_iter().chain(more).collect(), is_counter, value });
            };
            add("component.in", true, None, component.input);
            add("component.made", true, None, component.made);
            add("component.out", true, None, component.out);
            add("component.absorbed", true, None, component.absorbed);
            add("component.held", false, None, component.held);
            component.dropped.iter().for_each(|(why, n)| add("component.dropped", true, Some(("reason", why)), *n));
            component.noted.iter().for_each(|(what, n)| add("component.noted", true, Some(("what", what)), *n));
        }
        let queued = self.edges.iter().map(|edge| {
            let ends = [("from", &edge.from), ("output", &edge.output), ("to", &edge.to)];
            let labels = ends.map(|(name, end)| (name, end.clone())).to_vec();
            Number { of: "edge.queued", labels, is_counter: false, value: edge.queued }
        });
        numbers.extend(queued);
        numbers
    }
}

/// The counters of a whole graph.
#[derive(Clone, Default)]
pub struct Accounts {
    components: Vec<(String, &'static str, Arc<Counts>)>,
    edges: Vec<(EdgeName, Arc<EdgeCounts>)>,
}

/// Between which nodes an edge runs.
#[derive(Clone, Debug)]
pub struct EdgeName {
    pub from: String,
    pub output: String,
    pub to: String,
}

impl Accounts {
    pub fn open(&mut self, name: &str, component: &'static str) -> Arc<Counts> {
        let counts = Arc::new(Counts::default());
        self.components.push((name.to_string(), component, counts.clone()));
        counts
    }

    pub fn open_edge(&mut self, name: EdgeName) -> Arc<EdgeCounts> {
        let counts = Arc::new(EdgeCounts::default());
        self.edges.push((name, counts.clone()));
        counts
    }

    pub fn ledger(&self) -> Ledger {
        let components: Vec<_> = self.components.iter().map(|(name, of, c)| c.snapshot(name, of)).collect();
        let edges: Vec<_> = self.edges.iter().map(|(name, c)| edge(name, c)).collect();
        let taken = |name: &str| -> u64 { edges.iter().filter(|e| e.to == name).map(|e| e.sent - e.queued).sum() };
        let agrees = |c: &ComponentLedger| {
            let has_inputs = edges.iter().any(|e| e.to == c.name);
            c.balances() && (!has_inputs || taken(&c.name) == c.input)
        };
        let balanced = components.iter().all(agrees);
        Ledger { balanced, components, edges }
    }
}

fn edge(name: &EdgeName, counts: &EdgeCounts) -> EdgeLedger {
    let (sent, queued) = counts.sent_and_queued();
    EdgeLedger { from: name.from.clone(), output: name.output.clone(), to: name.to.clone(), sent, queued }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_steers_no_terminal_and_has_an_end() {
        let counts = Counts::default();
        counts.warn("`a\u{1b}[31m\r\u{7}` and `b`\n\tare one".into());
        counts.warn("x".repeat(TOLD_MAX + 1));
        let told = counts.snapshot("s", "stdout").warnings;
        assert_eq!(told[0], "`a\u{fffd}[31m\u{fffd}\u{fffd}` and `b`\n\tare one");
        assert_eq!(told[1].chars().count(), TOLD_MAX + 1);
        counts.warn_once("`a\u{1b}[31m\r\u{7}` and `b`\n\tare one");
        assert_eq!(counts.snapshot("s", "stdout").warnings.len(), 2, "it was told before");
    }
}
