//! Datagrams and frames into messages, and messages into rows.

use weir_core::Time;
use weir_core::batch::BATCH_ROWS;

use super::mapper::{Mapper, Mapping};
use super::message::{self, BAD_EVENT, Metric, Refused, UNTERMINATED};
use super::origin::Inodes;
use super::rows::{Around, Checks, Events, Metrics, Sender};
use super::scan::{Line, Mark, Marks};
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
    /// Of the payload that is read.
    marks: Marks,
    pub metrics: Metrics,
    pub events: Events,
    pub checks: Checks,
    pub rejected: Vec<Bad>,
    /// Lines seen since it was last asked; what is empty is none.
    pub lines: u64,
    /// Lines that the kernel cut in two, since it was last asked. What is left of one is not read.
    pub truncated: usize,
}

/// What stands around a message of a payload.
#[inline(always)]
fn around<'a>(rules: &'a Rules, inodes: &'a Inodes, payload: &Payload<'a>, now: Time) -> Around<'a> {
    Around { time: now.0, sender: payload.sender, tags: &rules.tags, inodes }
}

/// A metric as it is to be called.
fn mapped<'a>(mapper: &'a mut Option<Mapper>, metric: Metric<'a>) -> Metric<'a> {
    match mapper {
        Some(mapper) => mapper.map(metric),
        None => metric,
    }
}

/// A line of plain StatsD: what is good in it is taken, whatever else there is.
fn etsy_line(line: &[u8], metrics: &mut Metrics, mapper: &mut Option<Mapper>, around: &Around) -> Result<(), Refused> {
    let cut = etsy::Line::new(line)?;
    let mut refused = None;
    for pair in cut.pairs() {
        let read = pair.and_then(|pair| match pair {
            etsy::Pair::Number(metric, number) => {
                metrics.push_number(&mapped(mapper, metric), number, around);
                Ok(())
            }
            etsy::Pair::Set(metric) => metrics.push(&mapped(mapper, metric), around),
        });
        refused = refused.or(read.err());
    }
    refused.map_or(Ok(()), Err)
}

impl Decoder {
    pub fn new(mut rules: Rules) -> Decoder {
        Decoder {
            mapper: Mapper::new(std::mem::take(&mut rules.mappings)),
            rules,
            inodes: Inodes::default(),
            marks: Marks::default(),
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
        let mut marks = std::mem::take(&mut self.marks);
        marks.read(payload.bytes);
        self.each_line(&marks, payload, now);
        self.marks = marks;
    }

    fn each_line(&mut self, marks: &Marks, payload: &Payload, now: Time) {
        let is_utf8 = marks.is_ascii() || std::str::from_utf8(payload.bytes).is_ok();
        // What is missing of a datagram is at least a line, even where the cut is just behind one.
        if payload.is_truncated && payload.bytes.ends_with(b"\n") {
            self.lines += 1;
            self.truncated += 1;
        }
        let mut next = 0;
        while next < payload.bytes.len() {
            let start = next;
            let feed = marks.find(Mark::LineFeed, start, payload.bytes.len());
            let end = feed.unwrap_or(payload.bytes.len());
            next = end + 1;
            let line = match &payload.bytes[start..end] {
                // Etsy's server cuts at line feeds alone.
                [line @ .., b'\r'] if self.rules.dialect == Dialect::Dogstatsd => line,
                line => line,
            };
            let is_last = feed.is_none();
            let is_cut = is_last && payload.is_truncated;
            if line.is_empty() && !is_cut {
                continue;
            }
            self.lines += 1;
            if is_cut {
                self.truncated += 1;
                continue;
            }
            let read = match line {
                _ if is_last && self.rules.eol_required => Err(UNTERMINATED),
                // These two are cut at a number of bytes, which may be inside a character: each part is mended.
                [b'_', b'e', b'{', ..] if self.rules.dialect == Dialect::Dogstatsd => self.event(line, payload, now),
                [b'_', b's', b'c', ..] if self.rules.dialect == Dialect::Dogstatsd => self.check(line, payload, now),
                _ if is_utf8 || std::str::from_utf8(line).is_ok() => {
                    self.metric(&Line { bytes: line, start, marks }, payload, now)
                }
                _ => self.mended(line, payload, now),
            };
            if let Err(why) = read {
                self.refuse(line, why, payload);
            }
        }
    }

    /// A line that is no UTF-8: what is not is replaced.
    #[cold]
    fn mended(&mut self, line: &[u8], payload: &Payload, now: Time) -> Result<(), Refused> {
        let text = String::from_utf8_lossy(line);
        let mut marks = Marks::default();
        marks.read(text.as_bytes());
        self.metric(&Line { bytes: text.as_bytes(), start: 0, marks: &marks }, payload, now)
    }

    fn event(&mut self, line: &[u8], payload: &Payload, now: Time) -> Result<(), Refused> {
        let event = message::event(line)?;
        let Decoder { rules, inodes, events, .. } = self;
        events.push(&event, &around(rules, inodes, payload, now));
        Ok(())
    }

    fn check(&mut self, line: &[u8], payload: &Payload, now: Time) -> Result<(), Refused> {
        let check = message::check(line)?;
        let Decoder { rules, inodes, checks, .. } = self;
        checks.push(&check, &around(rules, inodes, payload, now));
        Ok(())
    }

    /// A line that is neither an event nor a check.
    #[inline(always)]
    fn metric(&mut self, line: &Line, payload: &Payload, now: Time) -> Result<(), Refused> {
        let Decoder { rules, inodes, mapper, metrics, .. } = self;
        let around = around(rules, inodes, payload, now);
        if rules.dialect == Dialect::Etsy {
            return etsy_line(line.bytes, metrics, mapper, &around);
        }
        // Not by way of `mapped`, which would copy each metric for nothing.
        let read = message::metric(line, rules.timestamps).and_then(|metric| match mapper {
            Some(mapper) => metrics.push(&mapper.map(metric), &around),
            None => metrics.push(&metric, &around),
        });
        // A metric may be called `_e`; what is none was meant as an event.
        match line.bytes {
            [b'_', b'e'] | [b'_', b'e', b':' | b'|', ..] => read.map_err(|_| BAD_EVENT),
            _ => read,
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
