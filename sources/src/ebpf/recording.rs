//! What the kernel told, in a file: the same rows come of it again, without a kernel.
//!
//! A line that says what it is, then events one behind the other: a byte for which it is, and its content, all
//! of it as the machine had it (little-endian where it was written on one).

use weir_ebpf::conntrack::{TRANSLATION_BYTES, Translation};
use weir_ebpf::records::{LOSS_WORDS, Losses, RECORD_BYTES, Raw, Record};

use super::meter::Event;

/// What a recording begins with.
pub const MAGIC: &[u8] = b"weir-flows 1\n";

/// What a record is of: its byte, and the event that it makes.
pub struct Kind {
    byte: u8,
    pub event: fn(Record) -> Event,
}

pub const FOUND: Kind = Kind { byte: b'F', event: Event::Found };
pub const CLOSED: Kind = Kind { byte: b'C', event: Event::Closed };
pub const OPEN: Kind = Kind { byte: b'O', event: Event::Open };
const RECORDS: [Kind; 3] = [FOUND, CLOSED, OPEN];
const CLOCK: u8 = b'T';
const ENDING: u8 = b'E';
const CUT: u8 = b'|';
const DONE: u8 = b'.';
const TRANSLATED: u8 = b'N';

/// What came of reading an event.
#[derive(PartialEq, Debug)]
pub enum Step {
    Event {
        used: usize,
        event: Event,
    },
    /// A record that is none.
    Bad {
        used: usize,
    },
    /// There is not enough of it.
    Need(usize),
    /// What stands there is no event.
    Broken,
}

/// Reads the event that bytes begin with.
pub fn step(bytes: &[u8]) -> Step {
    let Some((byte, content)) = bytes.split_first() else { return Step::Need(1) };
    let record = RECORDS.iter().find(|kind| kind.byte == *byte);
    let length = match *byte {
        _ if record.is_some() => RECORD_BYTES,
        CLOCK => 16,
        CUT => 8,
        ENDING => 0,
        DONE => 8 * LOSS_WORDS,
        TRANSLATED => TRANSLATION_BYTES,
        _ => return Step::Broken,
    };
    let used = 1 + length;
    let Some(content) = content.get(..length) else { return Step::Need(used) };
    let event = match record {
        Some(kind) => content.first_chunk().and_then(Record::read).map(kind.event),
        None => event(*byte, content),
    };
    match event {
        Some(event) => Step::Event { used, event },
        None => Step::Bad { used },
    }
}

fn event(byte: u8, content: &[u8]) -> Option<Event> {
    let (words, _) = content.as_chunks::<8>();
    let word = |at: usize| words.get(at).map(|word| u64::from_le_bytes(*word));
    Some(match byte {
        CLOCK => Event::Clock { wall: word(0)? as i64, monotonic: word(1)? },
        ENDING => Event::Ending,
        CUT => Event::Cut(word(0)? as i64),
        TRANSLATED => Event::Translated(Translation::read(content.first_chunk()?)?),
        DONE => {
            let mut losses = Losses::default();
            let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
            losses.add(words.first_chunk::<LOSS_WORDS>()?);
            Event::Done(losses)
        }
        _ => return None,
    })
}

/// Appends a time: what the clock of the records shows at a time since the epoch.
pub fn clock(wall: i64, monotonic: u64, into: &mut Vec<u8>) {
    into.push(CLOCK);
    into.extend_from_slice(&wall.to_le_bytes());
    into.extend_from_slice(&monotonic.to_le_bytes());
}

pub fn ending(into: &mut Vec<u8>) {
    into.push(ENDING);
}

pub fn cut(at: i64, into: &mut Vec<u8>) {
    into.push(CUT);
    into.extend_from_slice(&at.to_le_bytes());
}

pub fn done(losses: &Losses, into: &mut Vec<u8>) {
    into.push(DONE);
    losses.words().iter().for_each(|word| into.extend_from_slice(&word.to_le_bytes()));
}

pub fn translated(translation: &Translation, into: &mut Vec<u8>) {
    into.push(TRANSLATED);
    into.extend_from_slice(&translation.write());
}

pub fn record(kind: &Kind, raw: &Raw, into: &mut Vec<u8>) {
    into.push(kind.byte);
    into.extend_from_slice(raw);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let mut bytes = Vec::new();
        clock(-5, 7, &mut bytes);
        cut(30, &mut bytes);
        let losses = Losses { no_memory: 3, unknown: 4, ..Losses::default() };
        done(&losses, &mut bytes);
        let mut raw = [0; RECORD_BYTES];
        raw[0] = 9;
        record(&OPEN, &raw, &mut bytes);
        let mut events = Vec::new();
        let mut at = 0;
        loop {
            at += match step(&bytes[at..]) {
                Step::Event { used, event } => {
                    events.push(event);
                    used
                }
                // A record of no origin is none.
                Step::Bad { used } => used,
                Step::Need(1) => break,
                other => panic!("{other:?}"),
            };
        }
        assert_eq!(events, [Event::Clock { wall: -5, monotonic: 7 }, Event::Cut(30), Event::Done(losses)]);
        assert_eq!(step(&bytes[..3]), Step::Need(17));
        assert_eq!(step(b"x"), Step::Broken);
    }
}
