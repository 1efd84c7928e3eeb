//! What sees every row: lateness, keys and arguments, before rows are split among workers.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, ListArray, RecordBatch, UInt32Array};
use arrow_schema::{Field as ArrowField, Schema as ArrowSchema};
use arrow_select::take::take;
use weir_core::batch::{Batch, mask, take_rows};
use weir_core::component::{Front, Part};
use weir_core::eval::Compiled;
use weir_core::{BuildCx, Out};
use weir_spec::Type;
use weir_spec::plan::{Window, Windowing};

use super::{starts, width};
use crate::key;

/// Windows that may be open ahead of the watermark, however little memory there is.
const AHEAD_MIN: usize = 1_024;
/// What these take of the memory for groups is one part in this many at most.
const AHEAD_PART: usize = 2;
/// Bytes of an open window beside its groups, with some for a group that takes in what finds no room. How many workers
/// there are must not matter.
const OPEN_BYTES: usize = 1_000;

/// Windows that begin later than the next one, by when they do. Clocks of senders may be wrong, and senders hostile:
/// each of their windows would stay open until its time has come.
struct Ahead {
    starts: BTreeSet<i64>,
    max: usize,
}

impl Ahead {
    fn new(window: &Window, state_bytes: usize) -> Ahead {
        let windows_each = match window.windowing {
            Windowing::Hopping { width, every } => (width / every.max(1)) as usize + 1,
            Windowing::Tumbling { .. } | Windowing::Session { .. } => 1,
        };
        let windows = (state_bytes / AHEAD_PART / OPEN_BYTES).max(AHEAD_MIN);
        Ahead { starts: BTreeSet::new(), max: (windows / windows_each).max(1) }
    }

    /// Whether there is room for the window that starts at `start`, where the next one starts at `next` at the latest.
    fn has_room(&mut self, start: i64, next: i64) -> bool {
        if start <= next || self.starts.contains(&start) {
            return true;
        }
        if self.starts.len() >= self.max {
            self.starts = self.starts.split_off(&next);
        }
        self.starts.len() < self.max && self.starts.insert(start)
    }
}

pub struct WindowFront {
    window: Arc<Window>,
    ahead: Ahead,
    keys: Vec<Compiled>,
    /// Argument and filter of each aggregate.
    aggregates: Vec<(Option<Compiled>, Option<Compiled>)>,
}

impl WindowFront {
    pub fn new(window: Arc<Window>, cx: &BuildCx) -> WindowFront {
        let bind = |expr| Compiled::new(expr, &cx.inputs[0], cx.counts);
        WindowFront {
            ahead: Ahead::new(&window, cx.state_bytes as usize),
            keys: window.keys.iter().map(|k| bind(&k.expr)).collect(),
            aggregates: window
                .aggregates
                .iter()
                .map(|a| (a.argument.as_ref().map(bind), a.filter.as_ref().map(bind)))
                .collect(),
            window,
        }
    }

    /// Lets rows go whose last window had closed before they came.
    fn on_time(&self, batch: Batch, out: &mut Out) -> Option<Batch> {
        let lateness = self.window.lateness;
        let width = width(self.window.windowing);
        let late = |row: usize| {
            let last = starts(self.window.windowing, batch.time[row]).next();
            last.is_none_or(|start| batch.seen[row] >= start.saturating_add(width).saturating_add(lateness))
        };
        let is_late = mask(batch.len(), late);
        if is_late.true_count() == 0 {
            return Some(batch);
        }
        let part: Vec<u32> = (0..batch.len()).map(|row| u32::from(is_late.value(row))).collect();
        let mut parts = batch.partition(&part, 2);
        if let Some(late) = parts.pop().flatten() {
            out.send(1, late);
        }
        parts.pop().flatten()
    }

    /// Drops rows of windows so far ahead that there is no room for so many.
    fn in_reach(&mut self, batch: Batch, out: &mut Out) -> Option<Batch> {
        let width = width(self.window.windowing);
        let next = |row: usize| batch.seen[row].saturating_add(width);
        // As nearly always.
        if (0..batch.len()).all(|row| batch.time[row] <= next(row)) {
            return Some(batch);
        }
        let windowing = self.window.windowing;
        let keep = mask(batch.len(), |row| {
            let last = starts(windowing, batch.time[row]).next();
            last.is_none_or(|start| self.ahead.has_room(start, next(row)))
        });
        out.keep(batch, &keep, "windows_full").unless_empty()
    }

    /// Keys, then each aggregate's argument and filter, as columns `0`, `1`, ….
    fn columns(&self, rows: &RecordBatch) -> Vec<ArrayRef> {
        let mut columns: Vec<ArrayRef> = self.keys.iter().map(|k| k.eval(rows)).collect();
        for (argument, filter) in &self.aggregates {
            columns.extend(argument.as_ref().map(|a| a.eval(rows)));
            columns.extend(filter.as_ref().map(|f| Arc::new(f.mask(rows)) as ArrayRef));
        }
        columns
    }
}

/// Columns without a schema of their own, as rows that can be cut and taken.
pub(super) fn plain(columns: Vec<ArrayRef>, rows: usize) -> RecordBatch {
    let field = |(at, c): (usize, &ArrayRef)| ArrowField::new(at.to_string(), c.data_type().clone(), true);
    let schema = ArrowSchema::new(columns.iter().enumerate().map(field).collect::<Vec<_>>());
    weir_core::columns::record(&Arc::new(schema), columns, rows)
}

impl Front for WindowFront {
    fn front(&mut self, batch: Batch, out: &mut Out) -> Option<Part> {
        let batch = self.on_time(batch, out)?;
        let batch = self.in_reach(batch, out)?;
        let (mut time, mut seen) = (batch.time.to_vec(), batch.seen.to_vec());
        let (rows, acks) = out.absorb(batch);
        let mut rows = plain(self.columns(&rows), rows.num_rows());
        for (at, group) in self.window.keys.iter().enumerate().filter(|(_, k)| k.each) {
            let (taken, of) = each(&rows, at, &group.expr.ty);
            time = of.iter().map(|i| time[*i as usize]).collect();
            seen = of.iter().map(|i| seen[*i as usize]).collect();
            rows = taken;
        }
        let types: Vec<&Type> = self.window.keys.iter().map(|k| k.expr.ty.element()).collect();
        let mut bytes = Vec::new();
        let hash = |row: usize| {
            bytes.clear();
            types.iter().enumerate().for_each(|(at, ty)| key::append(rows.column(at), ty, row, &mut bytes));
            key::hash(&bytes)
        };
        let hashes = (0..rows.num_rows()).map(hash).collect();
        Some(Part { rows, hashes, time, seen, acks })
    }
}

/// A row for each value of the list in column `at`; a row without values stays, without a key.
fn each(rows: &RecordBatch, at: usize, ty: &Type) -> (RecordBatch, Vec<u32>) {
    let Some(lists) = rows.column(at).as_any().downcast_ref::<ListArray>() else {
        debug_assert!(!matches!(ty, Type::List(_)));
        return (rows.clone(), (0..rows.num_rows() as u32).collect());
    };
    let (mut of, mut value) = (Vec::new(), Vec::new());
    let offsets = lists.value_offsets();
    for row in 0..lists.len() {
        let range = if lists.is_valid(row) { offsets[row]..offsets[row + 1] } else { 0..0 };
        if range.is_empty() {
            of.push(row as u32);
            value.push(None);
        }
        for position in range {
            of.push(row as u32);
            value.push(Some(position as u32));
        }
    }
    let mut columns = take_rows(rows, &of).columns().to_vec();
    columns[at] = match take(lists.values(), &UInt32Array::from(value), None) {
        Ok(values) => values,
        // Positions come from this very column.
        Err(error) => unreachable!("each: {error}"),
    };
    (plain(columns, of.len()), of)
}
