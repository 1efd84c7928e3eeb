//! Which tasks are stuck, as their queues tell.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use weir_core::ledger::{Health, Ledger};

/// A queue that nobody takes from for so long belongs to a task that is stuck.
const STUCK: Duration = Duration::from_secs(60);

/// How far each queue had come, and since when; by where it begins, its output, and where it ends.
#[derive(Default)]
pub struct Queues(BTreeMap<(String, String, String), (u64, Instant)>);

impl Queues {
    /// Notes which queues have moved.
    pub fn look(&mut self, ledger: &Ledger, now: Instant) {
        for edge in &ledger.edges {
            let key = (edge.from.clone(), edge.output.clone(), edge.to.clone());
            let taken = edge.sent - edge.queued;
            let place = self.0.entry(key).or_insert((taken, now));
            if place.0 != taken || edge.queued == 0 {
                *place = (taken, now);
            }
        }
    }

    /// Nodes whose queue has stood still for long, and that wait for nobody behind them: a sink that tries
    /// again is not stuck, and who waits for it is not either.
    pub fn stuck(&self, ledger: &Ledger, now: Instant) -> Vec<String> {
        let is_long = |since: &Instant| now.saturating_duration_since(*since) >= STUCK;
        let still: Vec<_> = self.0.iter().filter(|(_, (_, since))| is_long(since)).map(|(key, _)| key).collect();
        let tries = |name: &str| {
            let component = ledger.components.iter().find(|component| component.name == name);
            component.is_some_and(|component| component.health == Some(Health::Retrying))
        };
        let waits = |name: &str| tries(name) || still.iter().any(|(from, _, _)| from == name);
        let mut stuck: Vec<String> = still.iter().map(|(_, _, to)| to.clone()).filter(|to| !waits(to)).collect();
        stuck.dedup();
        stuck
    }
}

#[cfg(test)]
mod tests {
    use weir_core::ledger::{ComponentLedger, EdgeLedger};

    use super::*;

    /// Three nodes in a row, with rows waiting before the last two.
    fn ledger(sink: Health, taken: u64) -> Ledger {
        let node = |name: &str, health| ComponentLedger {
            name: name.into(),
            component: "x",
            input: 0,
            made: 0,
            out: 0,
            absorbed: 0,
            held: 0,
            dropped: BTreeMap::new(),
            health,
            trouble: None,
            warnings: Vec::new(),
            noted: BTreeMap::new(),
        };
        let edge = |from: &str, to: &str| EdgeLedger {
            from: from.into(),
            output: String::new(),
            to: to.into(),
            sent: taken + 5,
            queued: 5,
        };
        Ledger {
            balanced: true,
            components: vec![node("source", None), node("stage", None), node("sink", Some(sink))],
            edges: vec![edge("source", "stage"), edge("stage", "sink")],
        }
    }

    #[test]
    fn who_takes_nothing_for_a_minute_is_stuck() {
        let begun = Instant::now();
        let mut queues = Queues::default();
        queues.look(&ledger(Health::Fine, 1), begun);
        assert!(queues.stuck(&ledger(Health::Fine, 1), begun + STUCK / 2).is_empty());
        // The stage waits for the sink, and is not to blame.
        assert_eq!(queues.stuck(&ledger(Health::Fine, 1), begun + STUCK), ["sink"]);
        assert!(queues.stuck(&ledger(Health::Retrying, 1), begun + STUCK).is_empty());
        // One row taken, and it is well again.
        queues.look(&ledger(Health::Fine, 2), begun + STUCK);
        assert!(queues.stuck(&ledger(Health::Fine, 2), begun + STUCK).is_empty());
    }
}
