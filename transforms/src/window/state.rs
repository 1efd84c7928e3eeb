//! What a window keeps for one aggregate of one group, and how partial results merge.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, StructArray};
use weir_core::distinct::Distinct;
use weir_core::sketch::{self, Sketch};
use weir_spec::Type;
use weir_spec::aggregate::{Aggregate, AggregateCall};

use crate::key;

/// The state of one aggregate. Merging two gives the state of both inputs together.
#[derive(Clone, Debug)]
pub enum State {
    Count(u64),
    /// Whole numbers, wide enough that only the result can overflow.
    Whole(i128),
    Sum(f64),
    /// The extreme so far, by sign: 1 looks for the largest.
    Extreme {
        sign: i8,
        value: Option<f64>,
        whole: Option<i64>,
    },
    Avg {
        sum: f64,
        count: u64,
    },
    /// Event time and encoded value; among equal times the smaller value, so order is no matter.
    Edge {
        last: bool,
        at: Option<(i64, Vec<u8>)>,
    },
    Distinct(Box<Distinct>),
    Sketch(Box<Sketch>),
}

impl State {
    pub fn new(call: &AggregateCall) -> State {
        let float = call.argument.as_ref().is_some_and(|a| a.ty.is_float());
        match call.aggregate {
            Aggregate::Count => State::Count(0),
            Aggregate::Sum | Aggregate::Rate if float => State::Sum(0.0),
            Aggregate::Sum | Aggregate::Rate => State::Whole(0),
            Aggregate::Min => State::Extreme { sign: -1, value: None, whole: None },
            Aggregate::Max => State::Extreme { sign: 1, value: None, whole: None },
            Aggregate::Avg => State::Avg { sum: 0.0, count: 0 },
            Aggregate::First => State::Edge { last: false, at: None },
            Aggregate::Last => State::Edge { last: true, at: None },
            Aggregate::Distinct => State::Distinct(Box::default()),
            Aggregate::Quantile(_) | Aggregate::Sketch => State::Sketch(Box::default()),
        }
    }

    /// Takes in one row. `argument` is absent for `count()`.
    pub fn add(&mut self, argument: Option<(&ArrayRef, &Type)>, row: usize, time: i64) {
        let Some((array, ty)) = argument else {
            if let State::Count(n) = self {
                *n += 1;
            }
            return;
        };
        if array.is_null(row) {
            return;
        }
        match self {
            State::Count(n) => *n += 1,
            State::Whole(sum) => *sum += i128::from(whole(array, row).unwrap_or(0)),
            State::Sum(sum) => *sum += number(array, row),
            State::Extreme { sign, value, whole: w } => match whole(array, row) {
                Some(n) => *w = Some(w.map_or(n, |m| if *sign > 0 { m.max(n) } else { m.min(n) })),
                None => {
                    let x = number(array, row);
                    *value = Some(value.map_or(x, |m| if *sign > 0 { m.max(x) } else { m.min(x) }));
                }
            },
            State::Avg { sum, count } => {
                *sum += number(array, row);
                *count += 1;
            }
            State::Edge { last, at } => {
                let mut bytes = Vec::new();
                key::append(array, ty, row, &mut bytes);
                choose(*last, at, (time, bytes));
            }
            State::Distinct(distinct) => {
                let mut bytes = Vec::new();
                key::append(array, ty, row, &mut bytes);
                distinct.add(key::hash(&bytes));
            }
            State::Sketch(mine) => match array.as_any().downcast_ref::<StructArray>() {
                Some(column) => mine.merge(&sketch::from_array(column, row).unwrap_or_default()),
                None => mine.add(number(array, row)),
            },
        }
    }

    pub fn bytes(&self) -> usize {
        let inner = match self {
            State::Edge { at, .. } => at.as_ref().map_or(0, |(_, bytes)| bytes.len()),
            State::Distinct(distinct) => distinct.bytes(),
            State::Sketch(sketch) => sketch.bytes(),
            _ => 0,
        };
        std::mem::size_of::<State>() + inner
    }
}

fn choose(last: bool, at: &mut Option<(i64, Vec<u8>)>, new: (i64, Vec<u8>)) {
    let better = match at {
        None => true,
        Some((time, value)) if *time == new.0 => new.1 < *value,
        Some((time, _)) => (new.0 > *time) == last,
    };
    if better {
        *at = Some(new);
    }
}

fn whole(array: &ArrayRef, row: usize) -> Option<i64> {
    array.as_any().downcast_ref::<Int64Array>().map(|a| a.value(row))
}

fn number(array: &ArrayRef, row: usize) -> f64 {
    match array.as_any().downcast_ref::<Float64Array>() {
        Some(floats) => floats.value(row),
        None => whole(array, row).unwrap_or(0) as f64,
    }
}

/// The results of one aggregate over many groups; `seconds` is the window's length.
pub fn column(call: &AggregateCall, states: &[&State], seconds: f64) -> ArrayRef {
    match call.aggregate {
        Aggregate::Sketch => {
            let each: Vec<Sketch> = states.iter().map(|s| sketch_of(s)).collect();
            sketch::to_array(&each)
        }
        Aggregate::First | Aggregate::Last => {
            let empty: &[u8] = &[0];
            let value = |s: &&State| match s {
                State::Edge { at: Some((_, bytes)), .. } => bytes.clone(),
                _ => empty.to_vec(),
            };
            let owned: Vec<Vec<u8>> = states.iter().map(value).collect();
            let mut keys: Vec<&[u8]> = owned.iter().map(Vec::as_slice).collect();
            key::column(&mut keys, &call.ty)
        }
        _ if call.ty.is_float() => Arc::new(states.iter().map(|s| result(call, s, seconds)).collect::<Float64Array>()),
        _ => Arc::new(states.iter().map(|s| exact(call, s, seconds)).collect::<Int64Array>()),
    }
}

fn sketch_of(state: &State) -> Sketch {
    match state {
        State::Sketch(sketch) => (**sketch).clone(),
        _ => Sketch::default(),
    }
}

fn exact(call: &AggregateCall, state: &State, seconds: f64) -> Option<i64> {
    match state {
        State::Count(n) => i64::try_from(*n).ok(),
        State::Whole(sum) if call.aggregate == Aggregate::Sum => i64::try_from(*sum).ok(),
        State::Extreme { whole, .. } => *whole,
        _ => result(call, state, seconds).map(|x| x.round() as i64),
    }
}

fn result(call: &AggregateCall, state: &State, seconds: f64) -> Option<f64> {
    let scale = if call.aggregate == Aggregate::Rate { 1.0 / seconds } else { 1.0 };
    match state {
        State::Count(n) => Some(*n as f64),
        State::Whole(sum) => Some(*sum as f64 * scale),
        State::Sum(sum) => Some(sum * scale),
        State::Extreme { value, whole, .. } => value.or(whole.map(|n| n as f64)),
        State::Avg { sum, count } => (*count > 0).then(|| sum / *count as f64),
        State::Distinct(distinct) => Some(distinct.estimate() as f64),
        State::Sketch(sketch) => match call.aggregate {
            Aggregate::Quantile(q) => sketch.quantile(q),
            _ => None,
        },
        State::Edge { .. } => None,
    }
}
