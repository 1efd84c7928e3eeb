//! Datagrams and frames into messages, and messages into rows.

use weir_core::Time;
use weir_core::batch::BATCH_ROWS;

use super::mapper::{Mapper, Mapping};
use super::message::{self, BAD_EVENT, Metric, Refused, UNTERMINATED};
use super::origin::Inodes;
use super::rows::{Around, Checks, Events, Metrics, Sender};
use super::scan::find;
use super::{DogstatsdOptions, etsy};
use crate::rejected::{Bad, REJECTED_ROWS};

/// Whose rules a line is read by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// The Datadog Agent's.
    Dogstatsd,
    /// Etsy's StatsD.
    Etsy,
}

impl Dialect {
    pub const WORDS: &'static [&'static str] = &["dogstatsd", "etsy"];
}

/// How lines are read, from the options.
#[derive(Clone, Debug)]
pub struct Rules {
    pub dialect: Dialect,
    /// Tags that every message gets.
    pub tags: Vec<String>,
    /// A line without a line feed behind it is refused.
    pub eol_required: bool,
    /// Whether `T` is read.
    pub timestamps: bool,
    pub mappings: Vec<Mapping>,
}

impl Rules {
    pub fn new(options: &DogstatsdOptions) -> Rules {
        // In order, each once, as the Agent has its own.
        let mut tags = options.tags.clone();
        tags.sort_unstable();
        tags.dedup();
        Rules {
            dialect: if options.dialect == "etsy" { Dialect::Etsy } else { Dialect::Dogstatsd },
            tags,
            eol_required: options.eol_required,
            timestamps: options.timestamps,
            // They were looked at before.
            mappings: options.mappings.iter().filter_map(|mapping| Mapping::parse(mapping).ok()).collect(),
        }
    }
}

/// One datagram, or one frame of a stream.
pub struct Payload<'a> {
    pub bytes: &'a [u8],
    /// Whether the kernel cut off its end.
    pub is_truncated: bool,
    pub sender: &'a Sender,
    /// Who sent it, for rejected lines; made only for them.
    pub peer: &'a dyn Fn() -> String,
}

/// Messages read and not yet sent on.
pub struct Decoder {
    rules: Rules,
    inodes: Inodes,
    mapper: Option<Mapper>,
    pub metrics: Metrics,
    pub events: Events,
    pub checks: Checks,
    pub rejected: Vec<Bad>,
    /// Lines seen since it was last asked; what is empty is none.
    pub lines: u64,
    /// Lines that the kernel cut in two, since it was last asked. What is left of one is not read.
    pub truncated: usize,
}

/// A metric as it is to be called.
fn mapped<'a>(mapper: &'a mut Option<Mapper>, metric: Metric<'a>) -> Metric<'a> {
    match mapper {
        Some(mapper) => mapper.map(metric),
        None => metric,
    }
}

impl Decoder {
    pub fn new(mut rules: Rules) -> Decoder {
        Decoder {
            mapper: Mapper::new(std::mem::take(&mut rules.mappings)),
            rules,
            inodes: Inodes::default(),
            metrics: Metrics::default(),
            events: Events::default(),
            checks: Checks::default(),
            rejected: Vec::new(),
            lines: 0,
            truncated: 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        let rows = [self.metrics.len(), self.events.len(), self.checks.len(), self.rejected.len()];
        rows.iter().all(|rows| *rows == 0) && self.lines == 0 && self.truncated == 0
    }

    pub fn is_full(&self) -> bool {
        let rows = [self.metrics.len(), self.events.len(), self.checks.len()];
        rows.iter().any(|rows| *rows >= BATCH_ROWS) || self.rejected.len() >= REJECTED_ROWS
    }

    /// Reads every line of a payload. One that is bad takes no other down.
    pub fn payload(&mut self, payload: &Payload, now: Time) {
        // Whether it is ASCII, as nearly always, is told in a fifth of the time.
        let is_utf8 = payload.bytes.is_ascii() || std::str::from_utf8(payload.bytes).is_ok();
        // What is missing of a datagram is at least a line, even where the cut is just behind one.
        if payload.is_truncated && payload.bytes.ends_with(b"\n") {
            self.lines += 1;
            self.truncated += 1;
        }
        let mut rest = payload.bytes;
        while !rest.is_empty() {
            let (line, is_last) = match find(b'\n', rest) {
                Some(at) => {
                    let line = &rest[..at];
                    rest = &rest[at + 1..];
                    (line, false)
                }
                None => (std::mem::take(&mut rest), true),
            };
            let line = if let [line @ .., b'\r'] = line { line } else { line };
            let is_cut = is_last && payload.is_truncated;
            if line.is_empty() && !is_cut {
                continue;
            }
            self.lines += 1;
            if is_cut {
                self.truncated += 1;
            } else if is_last && self.rules.eol_required {
                self.refuse(line, UNTERMINATED, payload);
            } else {
                let is_utf8 = is_utf8 || std::str::from_utf8(line).is_ok();
                self.line(line, is_utf8, payload, now);
            }
        }
    }

    #[inline]
    fn line(&mut self, line: &[u8], is_utf8: bool, payload: &Payload, now: Time) {
        if self.rules.dialect == Dialect::Etsy {
            return self.etsy(line, is_utf8, payload, now);
        }
        let Decoder { rules, inodes, mapper, metrics, events, checks, .. } = self;
        let around = Around { time: now.0, sender: payload.sender, tags: &rules.tags, is_utf8, inodes };
        let read = match line {
            // Lengths are of bytes, and clients count characters: an event may be cut inside one.
            [b'_', b'e', b'{', ..] => {
                message::event(line).map(|event| events.push(&event, &Around { is_utf8: false, ..around }))
            }
            [b'_', b's', b'c', ..] => message::check(line).map(|check| checks.push(&check, &around)),
            _ => {
                // Not by way of `mapped`, which would copy each metric for nothing.
                let read = message::metric(line, rules.timestamps).and_then(|metric| match mapper {
                    Some(mapper) => metrics.push(&mapper.map(metric), &around),
                    None => metrics.push(&metric, &around),
                });
                // A metric may be called `_e`; what is none was meant as an event.
                match line {
                    [b'_', b'e'] | [b'_', b'e', b':' | b'|', ..] => read.map_err(|_| BAD_EVENT),
                    _ => read,
                }
            }
        };
        if let Err(why) = read {
            self.refuse(line, why, payload);
        }
    }

    fn etsy(&mut self, line: &[u8], is_utf8: bool, payload: &Payload, now: Time) {
        let cut = match etsy::Line::new(line) {
            Ok(cut) => cut,
            Err(why) => return self.refuse(line, why, payload),
        };
        let Decoder { rules, metrics, inodes, mapper, .. } = self;
        let around = Around { time: now.0, sender: payload.sender, tags: &rules.tags, is_utf8, inodes };
        let mut refused = None;
        for pair in cut.pairs() {
            let read = pair.and_then(|pair| match pair {
                etsy::Pair::Number(metric, number) => {
                    metrics.push_number(&mapped(mapper, metric), number, &around);
                    Ok(())
                }
                etsy::Pair::Set(metric) => metrics.push(&mapped(mapper, metric), &around),
            });
            refused = refused.or(read.err());
        }
        if let Some(why) = refused {
            self.refuse(line, why, payload);
        }
    }

    fn refuse(&mut self, line: &[u8], why: Refused, payload: &Payload) {
        self.rejected.push(Bad {
            reason: why.reason,
            detail: why.detail.into(),
            sender: (payload.peer)(),
            data: line.to_vec(),
        });
    }
}
