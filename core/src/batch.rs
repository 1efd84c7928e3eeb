//! Rows with their event times and acknowledgements: the only thing that moves between components.

use arrow_array::{BooleanArray, RecordBatch, UInt32Array};
use arrow_buffer::{BooleanBuffer, ScalarBuffer};
use arrow_select::concat::concat_batches;
use arrow_select::filter::filter_record_batch;
use arrow_select::take::take_record_batch;

use crate::acks::Acks;
use crate::rows::Rows;

/// Rows that a batch should have for the cost of handling it to vanish (measured: more gains
/// nothing, and dictionaries get slower).
pub const BATCH_ROWS: usize = 4096;

/// Event times of newly made rows.
pub enum Times {
    /// Rows that cannot be late for anything: how far the input had come is their own time.
    InOrder(ScalarBuffer<i64>),
    /// Each row's time, and how far its input had come just before it.
    Seen { time: ScalarBuffer<i64>, seen: ScalarBuffer<i64> },
}

/// Rows, each with its event time and with how far its own input's event time had come just
/// before it. Lateness is a function of these two alone, so batches may be cut and joined anywhere.
///
/// Not `Clone`: only the engine may give rows to a second reader, because it splits the acks too.
pub struct Batch {
    pub rows: Rows,
    /// Nanoseconds since the epoch.
    pub time: ScalarBuffer<i64>,
    pub seen: ScalarBuffer<i64>,
    pub acks: Acks,
}

impl Batch {
    pub fn new(rows: impl Into<Rows>, times: Times, acks: Acks) -> Batch {
        let (time, seen) = match times {
            Times::InOrder(time) => (time.clone(), time),
            Times::Seen { time, seen } => (time, seen),
        };
        let rows = rows.into();
        debug_assert_eq!(rows.len(), time.len());
        debug_assert_eq!(rows.len(), seen.len());
        Batch { rows, time, seen, acks }
    }

    pub fn len(&self) -> usize {
        self.time.len()
    }

    /// Itself; an empty one has nothing left to wait for.
    pub fn unless_empty(self) -> Option<Batch> {
        if self.is_empty() {
            self.acks.delivered();
            return None;
        }
        Some(self)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that it keeps alive by itself.
    pub fn bytes(&self) -> usize {
        self.rows.bytes() + 16 * self.len()
    }

    /// The same rows with other columns; `f` keeps their number and order.
    pub fn map(self, f: impl FnOnce(RecordBatch) -> RecordBatch) -> Batch {
        let n = self.len();
        let rows = f(self.rows.into_plain());
        debug_assert_eq!(rows.num_rows(), n);
        Batch { rows: rows.into(), ..self }
    }

    /// The same rows as plain columns, for whoever wants those several times over.
    pub(crate) fn plain(self) -> Batch {
        Batch { rows: self.rows.into_plain().into(), ..self }
    }

    /// A second reader's copy.
    pub(crate) fn share(&self) -> Batch {
        Batch { rows: self.rows.share(), time: self.time.clone(), seen: self.seen.clone(), acks: self.acks.split() }
    }

    /// The rows where `mask` is true; its acks go along.
    pub(crate) fn filter(self, mask: &BooleanArray) -> Batch {
        let bits = mask.values();
        let pick = |values: &ScalarBuffer<i64>| -> ScalarBuffer<i64> {
            bits.set_indices().map(|i| values[i]).collect::<Vec<_>>().into()
        };
        let time = pick(&self.time);
        let same = self.time.ptr_eq(&self.seen);
        let seen = if same { time.clone() } else { pick(&self.seen) };
        let rows = self.rows.picked(|rows| match filter_record_batch(rows, mask) {
            Ok(rows) => rows,
            // The mask has as many bits as the batch has rows.
            Err(error) => unreachable!("filter: {error}"),
        });
        Batch { rows, time, seen, acks: self.acks }
    }

    /// Rows `from..from + len`, sharing the columns; acks are split.
    pub fn slice(&self, from: usize, len: usize) -> Batch {
        Batch {
            rows: self.rows.picked(|rows| rows.slice(from, len)),
            time: self.time.slice(from, len),
            seen: self.seen.slice(from, len),
            acks: self.acks.split(),
        }
    }

    /// The rows at these positions.
    pub fn take(&self, rows: &[u32]) -> Batch {
        let pick = |values: &ScalarBuffer<i64>| -> ScalarBuffer<i64> {
            rows.iter().map(|i| values[*i as usize]).collect::<Vec<_>>().into()
        };
        let (time, seen) = (pick(&self.time), pick(&self.seen));
        Batch { rows: self.rows.picked(|own| take_rows(own, rows)), time, seen, acks: self.acks.split() }
    }

    /// Cuts the rows into `parts` by the number of each; absent where a part has no rows.
    pub fn partition(self, part: &[u32], parts: usize) -> Vec<Option<Batch>> {
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); parts];
        part.iter().enumerate().for_each(|(at, p)| rows[*p as usize].push(at as u32));
        if let Some(whole) = rows.iter().position(|r| r.len() == part.len()) {
            let mut all: Vec<Option<Batch>> = (0..parts).map(|_| None).collect();
            all[whole] = (!part.is_empty()).then_some(self);
            return all;
        }
        let cut = rows.iter().map(|r| (!r.is_empty()).then(|| self.take(r))).collect();
        self.acks.delivered();
        cut
    }

    /// One batch of several with the same columns.
    pub fn join(mut batches: Vec<Batch>) -> Option<Batch> {
        if batches.len() <= 1 {
            return batches.pop();
        }
        let schema = batches[0].rows.schema();
        let rows = match concat_batches(&schema, batches.iter().map(|b| &*b.rows)) {
            Ok(rows) => rows,
            // Only batches of one edge are joined, and an edge has one schema.
            Err(error) => unreachable!("join: {error}"),
        };
        let all = |f: fn(&Batch) -> &ScalarBuffer<i64>| -> ScalarBuffer<i64> {
            batches.iter().flat_map(|b| f(b).iter().copied()).collect::<Vec<_>>().into()
        };
        let (time, seen) = (all(|b| &b.time), all(|b| &b.seen));
        let mut acks = Acks::none();
        batches.into_iter().for_each(|b| acks.join(b.acks));
        Some(Batch { rows: rows.into(), time, seen, acks })
    }
}

/// The rows at these positions, which are positions of `from`.
pub fn take_rows(from: &RecordBatch, rows: &[u32]) -> RecordBatch {
    match take_record_batch(from, &UInt32Array::from(rows.to_vec())) {
        Ok(rows) => rows,
        Err(error) => unreachable!("take: {error}"),
    }
}

/// A mask from a condition on row numbers.
pub fn mask(rows: usize, f: impl FnMut(usize) -> bool) -> BooleanArray {
    BooleanArray::new(BooleanBuffer::collect_bool(rows, f), None)
}
