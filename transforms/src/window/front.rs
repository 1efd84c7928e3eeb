//! What sees every row: lateness, keys and arguments, before rows are split among workers.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, ListArray, RecordBatch, UInt32Array};
use arrow_schema::{Field as ArrowField, Schema as ArrowSchema};
use arrow_select::take::take;
use weir_core::Out;
use weir_core::batch::{Batch, mask, take_rows};
use weir_core::component::{Front, Part};
use weir_core::eval::Compiled;
use weir_core::ledger::Counts;
use weir_spec::plan::Window;
use weir_spec::{Schema, Type};

use super::{starts, width};
use crate::key;

pub struct WindowFront {
    window: Arc<Window>,
    keys: Vec<Compiled>,
    /// Argument and filter of each aggregate.
    aggregates: Vec<(Option<Compiled>, Option<Compiled>)>,
}

impl WindowFront {
    pub fn new(window: Arc<Window>, input: &Schema, counts: &Arc<Counts>) -> WindowFront {
        let bind = |expr| Compiled::new(expr, input, counts);
        WindowFront {
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
