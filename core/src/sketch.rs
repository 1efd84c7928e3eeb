//! A mergeable quantile sketch with the parameters of the Datadog Agent's DDSketch.
//!
//! Values fall into bins whose bounds grow by a constant factor, so a quantile is within a relative
//! error of 1/128. Merging adds counts: any grouping of the same values gives the same sketch.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::builder::{Int64Builder, ListBuilder};
use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, ListArray, StructArray};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field, Fields};

/// The Agent's relative error, and a value that is in the first bin.
const RELATIVE_ERROR: f64 = 1.0 / 128.0;
const SMALLEST: f64 = 1e-9;
/// Where the first bin begins: what is nearer to zero is in that of zero.
const SMALLEST_BIN: f64 = 9.94185408912145e-10;
/// Bins kept at most; the lowest ones are folded together beyond it, as the Agent does.
pub const BINS_MAX: usize = weir_spec::aggregate::SKETCH_BINS_MAX;
/// Keys are 16 bits; the outermost ones stand for infinity.
const KEY_MAX: i16 = i16::MAX;

fn gamma_ln() -> f64 {
    (RELATIVE_ERROR * 2.0).ln_1p()
}

/// Added to a key so that the smallest value's is 1 (the Agent's normalisation).
fn bias() -> i32 {
    -((SMALLEST.ln() / gamma_ln()).floor() as i32) + 1
}

/// A sketch. Empty until something is added.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sketch {
    /// Bin key to how many values fell in.
    bins: BTreeMap<i16, u64>,
    pub count: u64,
    pub sum: f64,
    pub min: f64,
    pub max: f64,
    /// Of the values as often as they are counted, so it lies among them: what a fraction of a sample rate adds to the
    /// sum is not in it.
    pub avg: f64,
}

/// The bin of a value.
pub fn key(value: f64) -> i16 {
    if value < 0.0 {
        return -key(-value);
    }
    if value < SMALLEST_BIN {
        return 0;
    }
    // What is infinite is cut off at the greatest there is, and stays there.
    let exponent = ((value.ln() / gamma_ln()).round_ties_even() as i32).saturating_add(bias());
    exponent.clamp(1, i32::from(KEY_MAX)) as i16
}

/// The value that stands for a bin.
pub fn value(key: i16) -> f64 {
    match key {
        0 => 0.0,
        k if k < 0 => -value(-k),
        KEY_MAX => f64::INFINITY,
        k => (f64::from(i32::from(k) - bias()) * gamma_ln()).exp(),
    }
}

impl Sketch {
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn add(&mut self, x: f64) {
        self.add_weighted(x, 1);
    }

    /// Adds a sample that stands for `weight` values, 1 or more, as the Agent does: the bin and the count
    /// get the whole part of it, the sum all of it.
    pub fn add_sampled(&mut self, x: f64, weight: f64) {
        let before = self.sum;
        let whole = weight as u64;
        self.add_weighted(x, whole);
        if whole > 0 && !x.is_nan() {
            self.sum = before + x * weight;
        }
    }

    /// Adds `x` as often as `weight` says. What is not a number is left out.
    pub fn add_weighted(&mut self, x: f64, weight: u64) {
        if x.is_nan() || weight == 0 {
            return;
        }
        let first = self.is_empty();
        self.min = if first { x } else { self.min.min(x) };
        self.max = if first { x } else { self.max.max(x) };
        self.count += weight;
        self.sum += x * weight as f64;
        // Of one value the average is that value, to the last digit.
        self.avg = if first { x } else { self.avg + (x - self.avg) * weight as f64 / self.count as f64 };
        *self.bins.entry(key(x)).or_default() += weight;
        self.trim();
    }

    pub fn merge(&mut self, other: &Sketch) {
        if other.is_empty() {
            return;
        }
        let first = self.is_empty();
        self.min = if first { other.min } else { self.min.min(other.min) };
        self.max = if first { other.max } else { self.max.max(other.max) };
        self.count += other.count;
        self.sum += other.sum;
        let step = (other.avg - self.avg) * other.count as f64 / self.count as f64;
        self.avg = if first { other.avg } else { self.avg + step };
        for (key, n) in &other.bins {
            *self.bins.entry(*key).or_default() += n;
        }
        self.trim();
    }

    fn trim(&mut self) {
        while self.bins.len() > BINS_MAX {
            let Some((_, n)) = self.bins.pop_first() else { return };
            if let Some(mut next) = self.bins.first_entry() {
                *next.get_mut() += n;
            }
        }
    }

    /// The value below which a part `q` (0 to 1) of all values lie; absent when there are none.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        if self.is_empty() {
            return None;
        }
        if q <= 0.0 {
            return Some(self.min);
        }
        if q >= 1.0 {
            return Some(self.max);
        }
        let rank = (q * (self.count - 1) as f64).round_ties_even() as u64;
        let mut below = 0;
        for (key, n) in &self.bins {
            below += n;
            if below > rank {
                return Some(value(*key).clamp(self.min, self.max));
            }
        }
        Some(self.max)
    }

    pub fn bins(&self) -> impl Iterator<Item = (i16, u64)> {
        self.bins.iter().map(|(key, n)| (*key, *n))
    }

    /// Bytes that it takes, near enough for a budget.
    pub fn bytes(&self) -> usize {
        std::mem::size_of::<Sketch>() + self.bins.len() * weir_spec::aggregate::SKETCH_BIN_BYTES
    }
}

fn int_list() -> DataType {
    DataType::List(Arc::new(Field::new("item", DataType::Int64, true)))
}

/// The columns of a sketch column, named as rows of JSON name them.
pub fn fields() -> Fields {
    let field = |name: &str, ty| Field::new(name, ty, true);
    Fields::from(vec![
        field("count", DataType::Int64),
        field("sum", DataType::Float64),
        field("min", DataType::Float64),
        field("max", DataType::Float64),
        field("avg", DataType::Float64),
        field("keys", int_list()),
        field("counts", int_list()),
    ])
}

/// A column of sketches.
pub fn to_array(sketches: &[Sketch]) -> ArrayRef {
    column(&sketches.iter().collect::<Vec<_>>(), None)
}

/// A column of sketches that some rows have.
pub fn optional(sketches: &[Option<Sketch>]) -> ArrayRef {
    let none = Sketch::default();
    let each: Vec<&Sketch> = sketches.iter().map(|sketch| sketch.as_ref().unwrap_or(&none)).collect();
    column(&each, Some(NullBuffer::from_iter(sketches.iter().map(Option::is_some))))
}

fn column(sketches: &[&Sketch], nulls: Option<NullBuffer>) -> ArrayRef {
    let numbers = |f: fn(&Sketch) -> f64| -> ArrayRef {
        let each = sketches.iter().map(|s| (!s.is_empty()).then(|| f(s)));
        Arc::new(Float64Array::from_iter(each))
    };
    let lists = |f: fn((i16, u64)) -> i64| -> ArrayRef {
        let mut builder = ListBuilder::new(Int64Builder::new());
        for sketch in sketches {
            sketch.bins().for_each(|bin| builder.values().append_value(f(bin)));
            builder.append(true);
        }
        Arc::new(builder.finish())
    };
    let counts: ArrayRef = Arc::new(Int64Array::from_iter_values(sketches.iter().map(|s| s.count as i64)));
    let columns = vec![
        counts,
        numbers(|s| s.sum),
        numbers(|s| s.min),
        numbers(|s| s.max),
        numbers(|s| s.avg),
        lists(|(key, _)| i64::from(key)),
        lists(|(_, n)| n as i64),
    ];
    Arc::new(StructArray::new(fields(), columns, nulls))
}

/// The sketch in one row of a sketch column.
pub fn from_array(column: &StructArray, row: usize) -> Option<Sketch> {
    if column.is_null(row) {
        return None;
    }
    let number = |name| Some(column.column_by_name(name)?.as_any().downcast_ref::<Float64Array>()?.value(row));
    let list = |name| -> Option<Vec<i64>> {
        let lists = column.column_by_name(name)?.as_any().downcast_ref::<ListArray>()?.value(row);
        Some(lists.as_any().downcast_ref::<Int64Array>()?.values().to_vec())
    };
    let count = column.column_by_name("count")?.as_any().downcast_ref::<Int64Array>()?.value(row);
    let bins = list("keys")?.into_iter().zip(list("counts")?);
    let bins = bins.map(|(key, n)| (key.clamp(-32767, 32767) as i16, n.max(0) as u64)).collect();
    Some(Sketch {
        bins,
        count: count.max(0) as u64,
        sum: number("sum")?,
        min: number("min")?,
        max: number("max")?,
        avg: number("avg")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_infinite_is_in_the_last_bin() {
        assert_eq!([f64::INFINITY, f64::MAX, f64::NEG_INFINITY].map(key), [KEY_MAX, KEY_MAX, -KEY_MAX]);
    }
    use proptest::prelude::*;

    #[test]
    fn the_first_bin_begins_at_a_power_of_its_width() {
        assert_eq!(SMALLEST_BIN, (1.0 + 2.0 * RELATIVE_ERROR).powf(f64::from(1 - bias())));
        assert_eq!([key(SMALLEST_BIN), key(9.9418e-10), key(-9.942e-10), key(1e-9)], [1, 0, -1, 1]);
    }

    proptest! {
        /// Any grouping of the same values, merged in any order, is the sketch of them all.
        #[test]
        fn merged_sketches_equal_one(values in prop::collection::vec(-1e6f64..1e6, 1..200), cut in 1usize..7) {
            let mut whole = Sketch::default();
            let mut parts = vec![Sketch::default(); cut];
            for (i, v) in values.iter().enumerate() {
                whole.add(*v);
                parts[i % cut].add(*v);
            }
            let mut merged = Sketch::default();
            parts.iter().rev().for_each(|p| merged.merge(p));
            prop_assert_eq!(&merged.bins, &whole.bins);
            prop_assert_eq!((merged.count, merged.min, merged.max), (whole.count, whole.min, whole.max));
        }

        /// A quantile is within the relative error of the value at that rank.
        #[test]
        fn quantiles_are_close(mut values in prop::collection::vec(1e-3f64..1e9, 1..300), q in 0.0f64..1.0) {
            let mut sketch = Sketch::default();
            values.iter().for_each(|v| sketch.add(*v));
            values.sort_by(f64::total_cmp);
            let exact = values[(q * (values.len() - 1) as f64).round_ties_even() as usize];
            let got = sketch.quantile(q).unwrap();
            prop_assert!((got - exact).abs() <= exact * 0.0079, "{} for {}", got, exact);
        }
    }

    #[test]
    fn an_average_lies_among_the_values() {
        let mut sketch = Sketch::default();
        sketch.add_sampled(10.0, 1.0 / 0.3);
        assert_eq!((sketch.count, sketch.avg), (3, 10.0));
        let mut other = Sketch::default();
        other.add(20.0);
        sketch.merge(&other);
        assert_eq!((sketch.count, sketch.avg), (4, 12.5));
    }

    #[test]
    fn a_column_of_sketches_reads_back() {
        let mut sketch = Sketch::default();
        [1.0, 2.0, 300.0, -4.0].iter().for_each(|v| sketch.add(*v));
        let column = to_array(&[sketch.clone()]);
        let back = from_array(column.as_any().downcast_ref().unwrap(), 0);
        assert_eq!(back, Some(sketch));
    }
}
