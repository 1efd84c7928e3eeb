//! Arithmetic with units: whole numbers checked for overflow, everything else in floats.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Float64Array, Int64Array};
use arrow_buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use weir_spec::expr::Arithmetic;
use weir_spec::types::{Type, Unit};

use super::{Cell, cast};

/// Nanoseconds in the second that rates count by.
const SECOND: f64 = 1e9;

/// The result, and how many values it could not give.
pub(super) type Counted = (Cell, u64);

pub(super) fn subtract(a: &Cell, b: &Cell, rows: usize) -> Counted {
    if b.array().as_any().is::<Float64Array>() {
        return floats(a, b, rows, |a, b| Some(a - b));
    }
    ints(a, b, rows, i64::checked_sub)
}

/// Runs `a op b`; types are those of the operands and of the result.
pub(super) fn run(op: Arithmetic, a: &Cell, b: &Cell, types: (&Type, &Type, &Type), rows: usize) -> Counted {
    let whole = |cell: &Cell| cell.array().as_any().is::<Int64Array>();
    let both_whole = whole(a) && whole(b);
    let result_whole = !types.2.is_float();
    match op {
        Arithmetic::Add if both_whole => ints(a, b, rows, i64::checked_add),
        Arithmetic::Subtract if both_whole => ints(a, b, rows, i64::checked_sub),
        Arithmetic::Multiply if both_whole && result_whole => ints(a, b, rows, i64::checked_mul),
        Arithmetic::Add => floats(a, b, rows, |a, b| Some(a + b)),
        Arithmetic::Subtract => floats(a, b, rows, |a, b| Some(a - b)),
        Arithmetic::Multiply | Arithmetic::Divide => {
            let scale = scale(op, types.0, types.1, types.2);
            let f = |a: f64, b: f64| match op {
                Arithmetic::Multiply => Some(a * b * scale),
                _ if b == 0.0 => None,
                _ => Some(a / b * scale),
            };
            if result_whole { rounded(a, b, rows, f) } else { floats(a, b, rows, f) }
        }
    }
}

/// What brings nanoseconds and seconds together where a duration meets a rate or a size.
fn scale(op: Arithmetic, a: &Type, b: &Type, result: &Type) -> f64 {
    let nanos = |ty: &Type| ty.unit() == Some(Unit::Nanos);
    match op {
        Arithmetic::Divide if nanos(b) && !nanos(a) => SECOND,
        Arithmetic::Multiply if (nanos(a) || nanos(b)) && !nanos(result) => 1.0 / SECOND,
        _ => 1.0,
    }
}

fn valid(a: &Cell, b: &Cell, i: usize) -> bool {
    a.array().is_valid(a.at(i)) && b.array().is_valid(b.at(i))
}

fn collect<T: Default + Copy>(
    a: &Cell,
    b: &Cell,
    rows: usize,
    f: impl Fn(usize) -> Option<T>,
) -> (Vec<T>, Option<NullBuffer>, u64) {
    let mut failed = 0;
    let mut values = Vec::with_capacity(rows);
    let nulls = BooleanBuffer::collect_bool(rows, |i| {
        let result = if valid(a, b, i) { f(i) } else { None };
        failed += u64::from(result.is_none() && valid(a, b, i));
        values.push(result.unwrap_or_default());
        result.is_some()
    });
    (values, Some(nulls.into()), failed)
}

/// One row if both operands are one value, else a row for each.
fn shape(a: &Cell, b: &Cell, rows: usize) -> (usize, fn(ArrayRef) -> Cell) {
    match (a, b) {
        (Cell::One(_), Cell::One(_)) => (1, Cell::One),
        _ => (rows, Cell::Rows),
    }
}

fn ints(a: &Cell, b: &Cell, rows: usize, f: impl Fn(i64, i64) -> Option<i64>) -> Counted {
    let (rows, cell) = shape(a, b, rows);
    let (x, y) = (cast::<Int64Array>(a.array()).values(), cast::<Int64Array>(b.array()).values());
    let (values, nulls, failed) = collect(a, b, rows, |i| f(x[a.at(i)], y[b.at(i)]));
    (cell(Arc::new(Int64Array::new(ScalarBuffer::from(values), nulls))), failed)
}

/// Reads an operand's numbers as floats, whichever kind it is.
fn reader(cell: &Cell) -> Box<dyn Fn(usize) -> f64 + '_> {
    match cell.array().as_any().downcast_ref::<Float64Array>() {
        Some(floats) => Box::new(move |i| floats.values()[cell.at(i)]),
        None => {
            let ints = cast::<Int64Array>(cell.array()).values();
            Box::new(move |i| ints[cell.at(i)] as f64)
        }
    }
}

fn floats(a: &Cell, b: &Cell, rows: usize, f: impl Fn(f64, f64) -> Option<f64>) -> Counted {
    let (rows, cell) = shape(a, b, rows);
    let (x, y) = (reader(a), reader(b));
    let finite = |v: f64| v.is_finite().then_some(v);
    let (values, nulls, failed) = collect(a, b, rows, |i| f(x(i), y(i)).and_then(finite));
    (cell(Arc::new(Float64Array::new(ScalarBuffer::from(values), nulls))), failed)
}

fn rounded(a: &Cell, b: &Cell, rows: usize, f: impl Fn(f64, f64) -> Option<f64>) -> Counted {
    let (rows, cell) = shape(a, b, rows);
    let (x, y) = (reader(a), reader(b));
    let whole = |v: f64| (v.abs() < 9.2e18).then(|| v.round() as i64);
    let (values, nulls, failed) = collect(a, b, rows, |i| f(x(i), y(i)).and_then(whole));
    (cell(Arc::new(Int64Array::new(ScalarBuffer::from(values), nulls))), failed)
}
