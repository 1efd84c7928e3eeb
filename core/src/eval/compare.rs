//! Comparison and membership.

use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, BooleanArray, Datum, DictionaryArray, Float64Array, ListArray, Scalar, StringArray,
};
use arrow_ord::cmp;
use weir_spec::expr::Comparison;
use weir_spec::types::Type;
use weir_spec::{Value, value::Cidr};

use super::{Cell, booleans, cast, ips, literal};
use crate::columns::addresses;

/// Compares row by row; what is a scalar is compared with every row of the other.
fn compared(op: Comparison, x: &dyn Datum, y: &dyn Datum) -> ArrayRef {
    let ((a, a_is_scalar), (b, b_is_scalar)) = (x.get(), y.get());
    if let (Some(a), Some(b)) = (a.as_any().downcast_ref(), b.as_any().downcast_ref()) {
        return floats(op, (a, a_is_scalar), (b, b_is_scalar));
    }
    let result = match op {
        Comparison::Equal => cmp::eq(x, y),
        Comparison::NotEqual => cmp::neq(x, y),
        Comparison::Less => cmp::lt(x, y),
        Comparison::LessOrEqual => cmp::lt_eq(x, y),
        Comparison::Greater => cmp::gt(x, y),
        Comparison::GreaterOrEqual => cmp::gt_eq(x, y),
    };
    Arc::new(result.expect(SAME))
}

/// As IEEE 754 has it: to Arrow, NaN is above all numbers and -0 below 0.
fn floats(
    op: Comparison,
    (a, a_is_scalar): (&Float64Array, bool),
    (b, b_is_scalar): (&Float64Array, bool),
) -> ArrayRef {
    let rows = if a_is_scalar { b.len() } else { a.len() };
    let at = |is_scalar: bool, row: usize| if is_scalar { 0 } else { row };
    let valid = |row: usize| a.is_valid(at(a_is_scalar, row)) && b.is_valid(at(b_is_scalar, row));
    let holds = |row: usize| {
        let (a, b) = (a.value(at(a_is_scalar, row)), b.value(at(b_is_scalar, row)));
        match op {
            Comparison::Equal => a == b,
            Comparison::NotEqual => a != b,
            Comparison::Less => a < b,
            Comparison::LessOrEqual => a <= b,
            Comparison::Greater => a > b,
            Comparison::GreaterOrEqual => a >= b,
        }
    };
    booleans(rows, valid, holds)
}

pub(super) fn compare(op: Comparison, a: &Cell, b: &Cell, rows: usize) -> Cell {
    if a.array().as_any().is::<ListArray>() || b.array().as_any().is::<ListArray>() {
        return Cell::Rows(any(op, a, b, rows));
    }
    let (x, y) = (a.array(), b.array());
    match (a, b) {
        (Cell::One(_), Cell::One(_)) => Cell::One(compared(op, x, y)),
        (Cell::Rows(_), Cell::One(_)) => Cell::Rows(compared(op, x, &Scalar::new(y.clone()))),
        (Cell::One(_), Cell::Rows(_)) => Cell::Rows(compared(op, &Scalar::new(x.clone()), y)),
        (Cell::Rows(_), Cell::Rows(_)) => Cell::Rows(compared(op, x, y)),
    }
}

const SAME: &str = "checking gives both operands one type";

/// Columns of several values: true if any matches; `!=` is `not ==`.
fn any(op: Comparison, a: &Cell, b: &Cell, rows: usize) -> ArrayRef {
    let equal = if op == Comparison::NotEqual { Comparison::Equal } else { op };
    let valid = |i: usize| a.array().is_valid(a.at(i)) && b.array().is_valid(b.at(i));
    booleans(rows, valid, |i| {
        let (x, y) = (values_at(a, i), values_at(b, i));
        let mut pairs = (0..y.len()).map(|j| compared(equal, &x, &Scalar::new(y.slice(j, 1))));
        let matched = pairs.any(|hits| cast::<BooleanArray>(&hits).true_count() > 0);
        matched != (op == Comparison::NotEqual)
    })
}

fn values_at(cell: &Cell, i: usize) -> ArrayRef {
    match cell.array().as_any().downcast_ref::<ListArray>() {
        Some(lists) => lists.value(cell.at(i)),
        None => cell.array().slice(cell.at(i), 1),
    }
}

/// Membership in a constant set; addresses also in networks.
pub(super) fn contains(cell: &Cell, ty: &Type, set: &[Value]) -> Cell {
    let wrap = |array| if matches!(cell, Cell::One(_)) { Cell::One(array) } else { Cell::Rows(array) };
    let array = cell.array();
    if let Some(lists) = array.as_any().downcast_ref::<ListArray>() {
        let inside = member(lists.values(), ty.element(), set);
        let inside = cast::<BooleanArray>(&inside);
        let offsets = lists.value_offsets();
        let hit = |i: usize| (offsets[i]..offsets[i + 1]).any(|at| inside.value(at as usize));
        return wrap(booleans(lists.len(), |i| lists.is_valid(i), hit));
    }
    if let Some(words) = array.as_any().downcast_ref::<DictionaryArray<Int32Type>>() {
        let inside = member(words.values(), ty, set);
        let inside = cast::<BooleanArray>(&inside);
        let hit = |i: usize| inside.value(words.keys().value(i) as usize);
        return wrap(booleans(words.len(), |i| words.is_valid(i), hit));
    }
    wrap(member(array, ty, set))
}

fn member(array: &ArrayRef, ty: &Type, set: &[Value]) -> ArrayRef {
    let rows = array.len();
    let valid = |i: usize| array.is_valid(i);
    if *ty == Type::Ip {
        let networks: Vec<Cidr> = set.iter().filter_map(network).collect();
        let values = addresses(ips(array));
        return booleans(rows, valid, |i| networks.iter().any(|n| n.contains(&values[i])));
    }
    if let Some(strings) = array.as_any().downcast_ref::<StringArray>() {
        let set: Vec<&str> = set.iter().filter_map(Value::as_str).collect();
        return booleans(rows, valid, |i| set.contains(&strings.value(i)));
    }
    let mut hits = vec![false; rows];
    for value in set {
        let one = Scalar::new(literal(value, ty));
        let equal = compared(Comparison::Equal, array, &one);
        let equal = cast::<BooleanArray>(&equal);
        hits.iter_mut().enumerate().for_each(|(i, hit)| *hit |= equal.is_valid(i) && equal.value(i));
    }
    booleans(rows, valid, |i| hits[i])
}

fn network(value: &Value) -> Option<Cidr> {
    match value {
        Value::Cidr(cidr) => Some(*cidr),
        Value::Ip(ip) => Some(Cidr { base: *ip, prefix: 128 }),
        _ => None,
    }
}
