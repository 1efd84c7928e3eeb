//! Tells what components warn of, when a sink gets into trouble, and when it is out of it again.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use weir_core::graph::Handle;
use weir_core::ledger::{ComponentLedger, Health, Ledger};
use weir_sinks::terminal;

/// How often is looked; trouble that is over sooner is only counted.
const EVERY: Duration = Duration::from_millis(500);

/// What has been told of each sink.
#[derive(Default)]
pub struct News {
    told: BTreeMap<String, Health>,
    /// Warnings told of each component.
    warned: BTreeMap<String, usize>,
}

impl News {
    /// Tells for as long as it is polled.
    pub async fn watch(&mut self, handle: &Handle) -> Infallible {
        loop {
            tokio::time::sleep(EVERY).await;
            self.tell(&handle.ledger());
        }
    }

    /// Tells what is new.
    pub fn tell(&mut self, ledger: &Ledger) {
        for component in &ledger.components {
            let told = self.warned.entry(component.name.clone()).or_default();
            for warning in &component.warnings[*told..] {
                terminal::tell(&format!("warning: {warning}"));
            }
            *told = component.warnings.len();
        }
        for sink in &ledger.components {
            let Some(health) = sink.health else { continue };
            let before = self.told.insert(sink.name.clone(), health).unwrap_or(Health::Fine);
            if let Some(line) = change(sink, before, health) {
                terminal::tell(&line);
            }
        }
    }
}

/// The line for a change. Going down for good is told as an error at the end.
fn change(sink: &ComponentLedger, before: Health, now: Health) -> Option<String> {
    let name = &sink.name;
    match (before, now) {
        (Health::Fine, Health::Retrying) => {
            let why = sink.trouble.as_deref().unwrap_or("its far end does not answer");
            Some(format!("warning: `{name}` tries again: {why}"))
        }
        (Health::Retrying, Health::Fine) => Some(format!("note: `{name}` delivers again")),
        _ => None,
    }
}
