//! Datagrams and frames into messages, and messages into rows.

use std::ops::Range;

use memchr::memchr_iter;
use weir_core::Time;
use weir_core::batch::BATCH_ROWS;
use weir_core::hash::Hash;

use super::about::{Around, Sender};
use super::mapper::{Mapper, Mapping};
use super::message::{self, BAD_EVENT, Head, Metric, Refused, UNTERMINATED};
use super::number::float;
use super::origin::Inodes;
use super::rows::{Checks, Events, Metrics};
use super::scan::{Line, Mark, Marks};
use super::series::Known;
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

/// A line of a metric, by where its parts are in the payload.
struct Cut {
    start: u32,
    colon: u32,
    bar: u32,
    /// Where a rate begins that stands where clients put it, right behind the type; otherwise as `fields`.
    rate: u32,
    /// What is behind values, type and such a rate.
    fields: u32,
    end: u32,
    /// Of what it says beside values and rate.
    hash: Hash,
}

impl Cut {
    fn line(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    fn values(&self) -> Range<usize> {
        self.colon as usize + 1..self.bar as usize
    }

    /// Behind its `|@`.
    fn rate(&self) -> Option<Range<usize>> {
        (self.rate < self.fields).then_some(self.rate as usize + 2..self.fields as usize)
    }

    fn fields(&self) -> Range<usize> {
        self.fields as usize..self.end as usize
    }
}

/// Whether one of some fields, each behind its bar, is a rate.
fn has_rate(fields: &[u8]) -> bool {
    memchr_iter(b'|', fields).any(|bar| fields[bar + 1..].starts_with(b"@"))
}

/// Lines that are cut before the first of them is read: what is known of each is fetched from memory meanwhile.
const CUTS_MAX: usize = 64;

/// Messages read and not yet sent on.
pub struct Decoder {
    rules: Rules,
    inodes: Inodes,
    mapper: Option<Mapper>,
    /// Of the payload that is read.
    marks: Marks,
    /// Of its lines, those that are cut and not yet read.
    cuts: Vec<Cut>,
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
            etsy::Pair::Set(metric) => metrics.push(&mapped(mapper, metric), None, around),
        });
        refused = refused.or(read.err());
    }
    refused.map_or(Ok(()), Err)
}

impl Decoder {
    /// With so many bytes to know series by, that lines which come again are not read again.
    pub fn new(mut rules: Rules, series_bytes_max: usize) -> Decoder {
        Decoder {
            mapper: Mapper::new(std::mem::take(&mut rules.mappings)),
            rules,
            inodes: Inodes::default(),
            marks: Marks::default(),
            cuts: Vec::with_capacity(CUTS_MAX),
            metrics: Metrics::new(series_bytes_max),
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
        self.metrics.begin();
        let sender = self.metrics.series().of_sender(payload.sender);
        let may_know = self.may_know(payload, is_utf8);
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
            let is_refused = is_last && self.rules.eol_required;
            if may_know && !is_refused && self.cut(&Line { bytes: line, start, marks }, sender) {
                if self.cuts.len() == CUTS_MAX {
                    self.each_cut(marks, payload, now);
                }
                continue;
            }
            // In their order.
            self.each_cut(marks, payload, now);
            let read = match line {
                _ if is_refused => Err(UNTERMINATED),
                // These two are cut at a number of bytes, which may be inside a character: each part is mended.
                [b'_', b'e', b'{', ..] if self.rules.dialect == Dialect::Dogstatsd => self.event(line, payload, now),
                [b'_', b's', b'c', ..] if self.rules.dialect == Dialect::Dogstatsd => self.check(line, payload, now),
                _ if is_utf8 || std::str::from_utf8(line).is_ok() => {
                    self.metric(&Line { bytes: line, start, marks }, None, payload, now)
                }
                _ => self.mended(line, payload, now),
            };
            if let Err(why) = read {
                self.refuse(line, why, payload);
            }
        }
        self.each_cut(marks, payload, now);
    }

    /// Whether lines of a payload may be known.
    fn may_know(&mut self, payload: &Payload, is_utf8: bool) -> bool {
        let is_dogstatsd = self.rules.dialect == Dialect::Dogstatsd;
        // Of a file a line may be longer than a cut has room for.
        let is_short = u32::try_from(payload.bytes.len()).is_ok();
        is_dogstatsd && is_utf8 && is_short && !self.metrics.series().is_off()
    }

    /// Cuts a line of a metric whose beginning is right, to be read soon; `false` for any other.
    #[inline(always)]
    fn cut(&mut self, line: &Line, sender: Hash) -> bool {
        let text = line.bytes;
        // Events and checks begin so, and hardly any metric.
        if text.starts_with(b"_") {
            return false;
        }
        let Ok(Head { colon, bar, kind, fields: rate }) = message::head(line) else { return false };
        let mut fields = rate;
        if text[rate..].starts_with(b"|@") {
            fields = line.find(Mark::Bar, rate + 1, text.len()).unwrap_or(text.len());
        }
        let hash = self.metrics.series().of_line(sender, &text[..colon], kind, &text[fields..]);
        let [start, colon, bar, rate, fields, end] =
            [0, colon, bar, rate, fields, text.len()].map(|at| (line.start + at) as u32);
        self.cuts.push(Cut { start, colon, bar, rate, fields, end, hash });
        true
    }

    /// Reads the lines that are cut.
    #[inline(always)]
    fn each_cut(&mut self, marks: &Marks, payload: &Payload, now: Time) {
        if self.cuts.is_empty() {
            return;
        }
        let mut cuts = std::mem::take(&mut self.cuts);
        self.metrics.series().reach_for(cuts.iter().map(|cut| cut.hash));
        for cut in cuts.drain(..) {
            let read = match self.known(&cut, payload.bytes) {
                Some((known, rate)) => self.metrics.push_known(known, &payload.bytes[cut.values()], rate, now.0),
                None => {
                    let line = Line { bytes: &payload.bytes[cut.line()], start: cut.start as usize, marks };
                    let hash = Some(cut.hash).filter(|_| !has_rate(&payload.bytes[cut.fields()]));
                    self.metric(&line, hash, payload, now)
                }
            };
            if let Err(why) = read {
                self.refuse(&payload.bytes[cut.line()], why, payload);
            }
        }
        self.cuts = cuts;
    }

    /// What is known of a line, and its rate; nothing of one that has to be read.
    #[inline(always)]
    fn known(&mut self, cut: &Cut, bytes: &[u8]) -> Option<(Known, f64)> {
        let known = self.metrics.series().find(cut.hash)?;
        let rate = match cut.rate() {
            Some(rate) => float(&bytes[rate])?,
            None => 1.0,
        };
        Some((known, rate))
    }

    /// A line that is no UTF-8: what is not is replaced.
    #[cold]
    fn mended(&mut self, line: &[u8], payload: &Payload, now: Time) -> Result<(), Refused> {
        let text = String::from_utf8_lossy(line);
        let mut marks = Marks::default();
        marks.read(text.as_bytes());
        self.metric(&Line { bytes: text.as_bytes(), start: 0, marks: &marks }, None, payload, now)
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

    /// A line that is neither an event nor a check. Under `hash`, what it says beside its values is known from then on.
    fn metric(&mut self, line: &Line, hash: Option<Hash>, payload: &Payload, now: Time) -> Result<(), Refused> {
        let Decoder { rules, inodes, mapper, metrics, .. } = self;
        let around = around(rules, inodes, payload, now);
        if rules.dialect == Dialect::Etsy {
            return etsy_line(line.bytes, metrics, mapper, &around);
        }
        // Not by way of `mapped`, which would copy each metric for nothing.
        let read = message::metric(line, rules.timestamps).and_then(|metric| match mapper {
            Some(mapper) => metrics.push(&mapper.map(metric), hash, &around),
            None => metrics.push(&metric, hash, &around),
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
