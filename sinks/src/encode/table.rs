//! Rows as an aligned table for people: human units, columns without any value left out.
//!
//! The first rows decide how wide columns are. How many those are does not depend on when they
//! came, so a pause in the input does not change the output.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Float64Array, RecordBatch};
use bytes::{BufMut, BytesMut};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};
use weir_core::component::{Encoded, Encoder, Route};
use weir_core::eval::text::{int, text};
use weir_core::terminal;
use weir_spec::types::{Type, Unit};
use weir_spec::{Schema, units};

/// Rows that are laid out together.
const LAYOUT_ROWS: usize = 1000;
/// Rows of an input that never ends that are laid out together: people are waiting.
const LAYOUT_ROWS_LIVE: usize = 1;
/// A cell is cut beyond it.
const CELL_WIDTH_MAX: usize = 60;
/// Space between columns.
const GAP: &str = "  ";

pub struct Table {
    schema: Arc<Schema>,
    color: bool,
    layout_rows: usize,
    held: Vec<Vec<String>>,
    /// Shown columns and their widths, once laid out.
    layout: Option<Vec<(usize, usize)>>,
}

impl Table {
    pub fn new(schema: &Arc<Schema>, color: bool, bounded: bool) -> Table {
        let layout_rows = if bounded { LAYOUT_ROWS } else { LAYOUT_ROWS_LIVE };
        Table { schema: schema.clone(), color, layout_rows, held: Vec::new(), layout: None }
    }

    fn lay_out(&mut self, into: &mut BytesMut) {
        let width_of = |at: usize| self.held.iter().map(|r| r[at].width()).max().unwrap_or(0);
        let shown: Vec<(usize, usize)> = (0..self.schema.fields.len())
            .map(|at| (at, width_of(at)))
            .filter(|(_, width)| *width > 0)
            .map(|(at, width)| (at, width.max(self.schema.fields[at].name.width())))
            .collect();
        let names = self.schema.fields.iter().map(|f| f.name.clone()).collect::<Vec<_>>();
        let header = self.line(&names, &shown);
        if self.color {
            into.put_slice(format!("\x1b[1m{header}\x1b[0m\n").as_bytes());
        } else {
            into.put_slice(format!("{header}\n").as_bytes());
        }
        self.layout = Some(shown);
    }

    fn line(&self, cells: &[String], shown: &[(usize, usize)]) -> String {
        let mut line = String::new();
        for (n, (at, width)) in shown.iter().enumerate() {
            let cell = &cells[*at];
            let pad = " ".repeat(width.saturating_sub(cell.width()));
            line += if n == 0 { "" } else { GAP };
            line += &match is_number(&self.schema.fields[*at].ty) {
                true => format!("{pad}{cell}"),
                false => format!("{cell}{pad}"),
            };
        }
        line.trim_end().to_string()
    }

    fn print(&mut self, into: &mut BytesMut) {
        let held = std::mem::take(&mut self.held);
        let Some(shown) = &self.layout else { return };
        for row in held {
            into.put_slice(self.line(&row, shown).as_bytes());
            into.put_u8(b'\n');
        }
    }
}

impl Encoder for Table {
    fn encode(&mut self, _: Route, rows: &RecordBatch, into: &mut BytesMut) -> Encoded {
        for row in 0..rows.num_rows() {
            let cell = |(at, f): (usize, &weir_spec::Field)| cell(rows.column(at), &f.ty, row);
            self.held.push(self.schema.fields.iter().enumerate().map(cell).collect());
            if self.layout.is_none() && self.held.len() >= self.layout_rows {
                self.lay_out(into);
            }
        }
        if self.layout.is_none() {
            return Encoded::Held;
        }
        self.print(into);
        Encoded::All
    }

    fn flush(&mut self, into: &mut BytesMut) {
        if self.layout.is_none() && !self.held.is_empty() {
            self.lay_out(into);
        }
        self.print(into);
    }
}

fn is_number(ty: &Type) -> bool {
    matches!(ty, Type::Number { .. })
}

/// A value for a person; nothing if it is absent. Control characters are shown, not obeyed.
fn cell(array: &ArrayRef, ty: &Type, row: usize) -> String {
    if array.is_null(row) {
        return String::new();
    }
    let float = || array.as_any().downcast_ref::<Float64Array>().map_or(f64::NAN, |a| a.value(row));
    match ty {
        Type::Number { unit: Unit::Nanos, .. } => units::human_duration(int(array, row)),
        Type::Number { unit: Unit::Bytes, float: true } => units::human_size(float()),
        Type::Number { unit: Unit::Bytes, .. } => units::human_size(int(array, row) as f64),
        Type::Number { unit: Unit::BytesPerSecond, .. } => format!("{}/s", units::human_size(float())),
        Type::Number { unit: Unit::PerSecond, .. } => format!("{}/s", units::human_number(float())),
        Type::Number { float: true, .. } => units::human_number(float()),
        Type::Time => time(int(array, row)),
        Type::Sketch => "(sketch)".into(),
        ty => shorten(&text(array, ty, row).unwrap_or_default()),
    }
}

/// To the second where that is exact, else to the millisecond.
fn time(nanos: i64) -> String {
    let full = units::time(nanos);
    let day = full.replacen('T', " ", 1);
    let end = if nanos % 1_000_000_000 == 0 { 19 } else { 23 };
    day.get(..end).unwrap_or(&day).to_string()
}

fn shorten(text: &str) -> String {
    let clean: String = text.chars().map(terminal::plain).collect();
    if clean.width() <= CELL_WIDTH_MAX {
        return clean;
    }
    let mut width = 0;
    let fits = |c: &char| {
        width += c.width().unwrap_or(0);
        width < CELL_WIDTH_MAX
    };
    clean.chars().take_while(fits).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Int64Array, StringArray};
    use weir_spec::Field;

    #[test]
    fn wide_text_is_cut_where_its_cell_ends() {
        for text in ["\u{540d}".repeat(31), "\u{540d}".repeat(70), format!("a{}", "\u{540d}".repeat(40))] {
            let short = shorten(&text);
            assert!(short.width() <= CELL_WIDTH_MAX && short.width() >= CELL_WIDTH_MAX - 1, "{short}");
            assert!(short.chars().count() < text.chars().count() && short.ends_with('\u{2026}'), "{short}");
        }
    }

    #[test]
    fn columns_align_and_empty_ones_are_left_out() {
        let fields = vec![
            Field::new("service", Type::Str),
            Field::new("nothing", Type::Str),
            Field::new("bytes", Type::SIZE),
            Field::new("rtt", Type::DURATION),
        ];
        let schema = Arc::new(Schema { fields });
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec!["web", "a\nb"])),
            Arc::new(StringArray::from(vec![None::<&str>, None])),
            Arc::new(Int64Array::from(vec![512, 1_310_720])),
            Arc::new(Int64Array::from(vec![Some(1_250_000), None])),
        ];
        let rows = RecordBatch::try_new(weir_core::columns::arrow_schema(&schema), columns).unwrap();
        let mut table = Table::new(&schema, false, true);
        let mut out = BytesMut::new();
        assert_eq!(table.encode(0, &rows, &mut out), Encoded::Held);
        table.flush(&mut out);
        insta::assert_snapshot!(String::from_utf8_lossy(&out), @r"
        service     bytes      rtt
        web         512 B  1.25 ms
        a�b      1.25 MiB
        ");
    }
}
