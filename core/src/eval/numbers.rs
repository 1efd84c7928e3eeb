//! Functions of numbers and times.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Float64Array, Int64Array};
use weir_spec::types::Type;

use super::cast;

/// Each number brought to a whole one by `f`; what is whole already stays.
pub(super) fn whole(array: &ArrayRef, f: fn(f64) -> f64, ty: &Type) -> ArrayRef {
    let Some(floats) = array.as_any().downcast_ref::<Float64Array>() else { return array.clone() };
    if ty.is_float() {
        return Arc::new(floats.unary::<_, arrow_array::types::Float64Type>(f));
    }
    let one = |x: f64| {
        let x = f(x);
        // Beyond 2^63 there is no such whole number.
        (x.abs() < 9.2e18).then_some(x as i64)
    };
    Arc::new(floats.iter().map(|x| x.and_then(one)).collect::<Int64Array>())
}

/// The multiple of a step at or below each time.
pub(super) fn floor_to(array: &ArrayRef, step: &ArrayRef) -> ArrayRef {
    let (times, steps) = (cast::<Int64Array>(array), cast::<Int64Array>(step));
    let one = |(time, step): (Option<i64>, Option<i64>)| {
        let (time, step) = (time?, step.filter(|s| *s > 0)?);
        time.div_euclid(step).checked_mul(step)
    };
    Arc::new(times.iter().zip(steps.iter()).map(one).collect::<Int64Array>())
}

pub(super) fn log(array: &ArrayRef, base: Option<&ArrayRef>) -> ArrayRef {
    let numbers = cast::<Float64Array>(array);
    let base = base.map(cast::<Float64Array>);
    let one = |i: usize| {
        let x = numbers.is_valid(i).then(|| numbers.value(i))?;
        let result = match base {
            None => x.ln(),
            Some(base) if base.is_null(i) || base.value(i) <= 0.0 || base.value(i) == 1.0 => return None,
            Some(base) if base.value(i) == 2.0 => x.log2(),
            Some(base) if base.value(i) == 10.0 => x.log10(),
            Some(base) => x.log(base.value(i)),
        };
        result.is_finite().then_some(result)
    };
    Arc::new((0..numbers.len()).map(one).collect::<Float64Array>())
}

/// What whole multiples of `b` leave of `a`, never negative.
pub(super) fn modulo(a: &ArrayRef, b: &ArrayRef) -> ArrayRef {
    if let (Some(a), Some(b)) = (a.as_any().downcast_ref::<Float64Array>(), b.as_any().downcast_ref::<Float64Array>()) {
        let one = |(a, b): (Option<f64>, Option<f64>)| Some(a?.rem_euclid(b.filter(|b| *b != 0.0)?));
        return Arc::new(a.iter().zip(b.iter()).map(one).collect::<Float64Array>());
    }
    let (a, b) = (cast::<Int64Array>(a), cast::<Int64Array>(b));
    let one = |(a, b): (Option<i64>, Option<i64>)| a?.checked_rem_euclid(b?);
    Arc::new(a.iter().zip(b.iter()).map(one).collect::<Int64Array>())
}
