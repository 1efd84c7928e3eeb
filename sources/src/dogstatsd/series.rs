//! The series that were met before: a line that differs from an earlier one in its values alone is not read again.
//!
//! Clients send the same name, type, tags and origin over and over, byte for byte. All of these together have a hash,
//! which is trusted as that of a context is (docs/design.md); under it stands the entry that they have in a dictionary,
//! which batches share ([`Entries`]). Not known are lines whose meaning may change (an inode's container), that hardly
//! come twice (with a time of their own), whose rate is not right behind the type, and those beyond the memory there is.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use weir_core::build::{Texts, Words};
use weir_core::columns::record;
use weir_core::hash::{Hash, Hashing};
use weir_core::index::{Index, Typed};
use weir_core::rows::{Entries, Layout};
use weir_spec::kinds::enums::metric_kind;
use weir_spec::kinds::metric;

use super::about::{About, Around, Sender, is_by_inode};
use super::message::Metric;

/// Series that are known at once, if there is memory for them. Of more, those beyond are read anew each time.
const SERIES_MAX: usize = 1 << 18;
/// Bytes of a series in the dictionary that are reckoned with: name, tags, origin. Some may have more where others have
/// less.
const ENTRY_BYTES: usize = 112;
/// Bytes of a series: its entry and its hash.
const SERIES_BYTES: usize = ENTRY_BYTES + Index::<Typed>::ENTRY_BYTES;
/// Bytes that all take at most.
pub const HELD_BYTES_MAX: usize = SERIES_MAX * SERIES_BYTES;
/// Bytes of an entry beside its texts: where these end, and which is whose.
const COLUMNS_BYTES: usize = 24;

/// No UTF-8 has this byte.
const NOT_TEXT: &[u8] = &[0xff];

/// What a line says beside its values and their rate.
#[derive(Clone, Copy)]
pub struct Known {
    pub entry: u32,
    pub kind: u8,
}

/// What metrics say beside their values: a row of the dictionary, or of one batch alone.
#[derive(Default)]
pub struct Heads {
    names: Texts,
    units: Words,
    about: About,
}

/// The one unit that the protocol knows.
const TIMING_UNIT: &[u8] = b"millisecond";

impl Heads {
    /// Whether the column of that name is one of these.
    pub fn has(name: &str) -> bool {
        [metric::NAME.name, metric::UNIT.name].contains(&name) || About::has(name)
    }

    /// Room for as much as others have.
    pub fn like(other: &Heads) -> Heads {
        Heads { names: Texts::like(&other.names), units: Words::like(&other.units), about: About::like(&other.about) }
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn push(&mut self, metric: &Metric, around: &Around) {
        if metric.kind == metric_kind::TIMING {
            self.units.set(self.names.len(), TIMING_UNIT);
        }
        self.names.push(metric.name);
        self.about.push(around, &metric.origin, None, metric.tags);
    }

    /// The column of that name, if it is one of these.
    pub fn column(&mut self, name: &str) -> Option<ArrayRef> {
        let rows = self.about.rows();
        match name {
            name if name == metric::NAME.name => Some(Arc::new(std::mem::take(&mut self.names).finish())),
            name if name == metric::UNIT.name => Some(std::mem::take(&mut self.units).finish(rows)),
            name => self.about.column(name),
        }
    }

    /// Lets go of the room that is left, where it is to be kept for long.
    fn shrink(&mut self) {
        self.names.shrink();
        self.about.shrink();
    }

    /// All of them as rows; absent if there is none.
    pub fn finish(mut self, layout: &Layout) -> Option<RecordBatch> {
        let rows = self.len();
        let columns = layout.entry.fields().iter().filter_map(|field| self.column(field.name())).collect();
        (rows > 0).then(|| record(&layout.entry, columns, rows))
    }
}

/// All that is known.
pub struct Series {
    hashing: Hashing,
    known: Index<Typed>,
    entries: Entries,
    /// Those of the batch that is being read, which come behind.
    fresh: Heads,
    /// Reckoned for all entries.
    columns_bytes: usize,
    /// How many there may be, and in how many bytes.
    max: usize,
    columns_bytes_max: usize,
    /// Lines of other series that came since there was no room for them.
    missed: usize,
}

impl Series {
    /// With so many bytes to hold what it knows.
    pub fn new(bytes_max: usize) -> Series {
        let max = (bytes_max / SERIES_BYTES).min(SERIES_MAX);
        // Its places are a power of two.
        let columns_bytes_max = bytes_max.min(HELD_BYTES_MAX).saturating_sub(Index::<Typed>::bytes(max));
        let max = if columns_bytes_max == 0 { 0 } else { max };
        Series {
            hashing: Hashing::default(),
            known: Index::new(),
            entries: Entries::new(),
            fresh: Heads::default(),
            columns_bytes: 0,
            max,
            columns_bytes_max,
            missed: 0,
        }
    }

    /// The hash that lines of this sender begin with.
    pub fn of_sender(&self, sender: &Sender) -> Hash {
        let mut hash = self.hashing.bytes(&[]);
        // As over UDP.
        if *sender == Sender::default() {
            return hash;
        }
        hash = self.hashing.behind(hash, &sender.pid.unwrap_or_default().to_le_bytes());
        // None is not the empty text.
        for text in [&sender.container, &sender.pod] {
            hash = self.hashing.behind(hash, text.as_deref().map_or(NOT_TEXT, str::as_bytes));
        }
        hash
    }

    /// The hash of a line by its name, its type, and the fields behind that and its rate.
    #[inline(always)]
    pub fn of_line(&self, sender: Hash, name: &[u8], kind: u8, fields: &[u8]) -> Hash {
        self.hashing.behind(self.hashing.with(self.hashing.behind(sender, name), kind.into()), fields)
    }

    /// Has what is looked for next fetched from memory.
    pub fn reach_for(&self, hashes: impl Iterator<Item = Hash>) {
        self.known.reach_for(hashes);
    }

    #[inline(always)]
    pub fn find(&mut self, hash: Hash) -> Option<Known> {
        self.known.find(hash).map(|held| Known { entry: held.number(), kind: held.of() })
    }

    /// What is known under this hash from now on; absent if it may mean something else next time, or if there is no
    /// room.
    pub fn learn(&mut self, hash: Hash, metric: &Metric, around: &Around) -> Option<Known> {
        if metric.timestamp.is_some() || is_by_inode(&metric.origin, around.sender) {
            return None;
        }
        if self.is_full() {
            self.missed += 1;
            return None;
        }
        self.columns_bytes += bytes_of(metric, around);
        let entry = self.entries.len() + self.fresh.len() as u32;
        self.fresh.push(metric, around);
        let known = Known { entry, kind: metric.kind };
        self.known.insert(hash, Typed::new(entry, metric.kind));
        Some(known)
    }

    /// Whether nothing will ever be known.
    #[inline(always)]
    pub fn is_off(&self) -> bool {
        self.max == 0
    }

    fn is_full(&self) -> bool {
        self.known.len() >= self.max || self.columns_bytes >= self.columns_bytes_max
    }

    /// The entries that a batch refers to, which ends here.
    pub fn settle(&mut self, layout: &Layout) -> Entries {
        let mut fresh = std::mem::take(&mut self.fresh);
        fresh.shrink();
        if let Some(fresh) = fresh.finish(layout) {
            self.entries.add(fresh);
        }
        self.entries.clone()
    }

    /// Begins anew where those that are known may be of series that are no more: as many lines of others came. Only
    /// between batches, and once nobody holds rows of the dictionary, so that there is one of them at a time.
    pub fn renew(&mut self) {
        if self.missed > self.known.len() && !self.entries.is_shared() {
            self.known = Index::new();
            self.entries = Entries::new();
            (self.columns_bytes, self.missed) = (0, 0);
        }
    }
}

/// Bytes that an entry takes.
fn bytes_of(metric: &Metric, around: &Around) -> usize {
    let sender = [&around.sender.container, &around.sender.pod].into_iter().flatten().map(|text| text.len());
    let said = [Some(metric.name), metric.tags, metric.origin.local, metric.origin.external].into_iter().flatten();
    let always = around.tags.iter().map(|tag| tag.len() + 1);
    COLUMNS_BYTES + sender.sum::<usize>() + said.map(<[u8]>::len).sum::<usize>() + always.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use weir_core::Rows;
    use weir_core::columns::get;
    use weir_spec::kinds::metric::METRIC;

    use super::super::message;
    use super::super::origin::Inodes;
    use super::super::rows::Metrics;
    use super::super::scan::{Line, Marks};
    use super::*;

    fn push(metrics: &mut Metrics, text: &str) -> bool {
        let sender = metrics.series().of_sender(&Sender::default());
        let hash = metrics.series().of_line(sender, text.as_bytes(), 0, b"");
        if let Some(known) = metrics.series().find(hash) {
            metrics.push_known(known, b"1", 1.0, 0).unwrap();
            return true;
        }
        let mut marks = Marks::default();
        marks.read(text.as_bytes());
        let line = Line { bytes: text.as_bytes(), start: 0, marks: &marks };
        let around = Around { time: 0, sender: &Sender::default(), tags: &[], inodes: &Inodes::default() };
        metrics.push(&message::metric(&line, true).unwrap(), Some(hash), &around).unwrap();
        false
    }

    fn names(rows: &Rows) -> Vec<String> {
        get(rows, metric::NAME).unwrap().iter().flatten().map(str::to_string).collect()
    }

    /// What is full begins anew, and rows from before say what they said.
    #[test]
    fn a_full_dictionary_begins_anew_once_nobody_holds_its_rows() {
        let mut metrics = Metrics::new(64 * SERIES_BYTES);
        let schema = METRIC.schema();
        let mut batch = |lines: std::ops::Range<usize>| {
            metrics.begin();
            let known = lines.clone().filter(|n| push(&mut metrics, &format!("n{n}:1|c"))).count();
            (known, metrics.finish(&schema).0)
        };
        let called = |lines: std::ops::Range<usize>| lines.map(|n| format!("n{n}")).collect::<Vec<_>>();
        let (known, first) = batch(0..64);
        assert_eq!(known, 0);
        let (known, second) = batch(0..140);
        assert_eq!(known, 64, "and no more");
        assert_eq!(batch(0..140).0, 64, "which stay as long as rows of them are held");
        assert_eq!((names(&first), names(&second)), (called(0..64), called(0..140)));
        drop((first, second));
        assert_eq!(batch(80..81).0, 0);
        assert_eq!(batch(80..90).0, 1, "another one");
        let (known, last) = batch(80..90);
        assert_eq!((known, names(&last)), (10, called(80..90)));
    }
}
