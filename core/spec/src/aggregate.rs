//! Aggregate functions of a window: each declared once, with its typing.

use crate::expr::Expr;
use crate::types::{Type, Unit};

/// Which aggregate it is; `weir-core` has the state and the merge of each.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Aggregate {
    Count,
    Sum,
    Min,
    Max,
    Avg,
    First,
    Last,
    /// An estimate of how many different values there were (HyperLogLog).
    Distinct,
    /// A quantile in 0 to 1, by sketch.
    Quantile(f64),
    /// The sum over the window's length, a second.
    Rate,
    /// The sketch itself, to be merged downstream.
    Sketch,
}

/// Bins of a quantile sketch.
pub const SKETCH_BINS_MAX: usize = 4096;
/// Bytes of a bin.
pub const SKETCH_BIN_BYTES: usize = 24;
/// Bits that choose a register of an estimate of distinct values; a register is a byte.
pub const DISTINCT_BITS: u32 = 12;

impl Aggregate {
    /// Bytes that its state takes at most; texts that `first` and `last` keep are taken as short.
    pub fn bytes_max(self) -> usize {
        match self {
            Aggregate::Distinct => 48 + (1 << DISTINCT_BITS),
            Aggregate::Quantile(_) | Aggregate::Sketch => 48 + SKETCH_BINS_MAX * SKETCH_BIN_BYTES,
            Aggregate::First | Aggregate::Last => 128,
            _ => 48,
        }
    }
}

/// The declaration of an aggregate.
pub struct AggregateSpec {
    pub name: &'static str,
    pub signature: &'static str,
    pub summary: &'static str,
    pub arguments: usize,
    pub make: fn(f64) -> Aggregate,
    /// The type of the result for an argument of that type; `None` where it does not take it.
    pub typing: fn(&Type) -> Option<Type>,
    /// What the argument has to be, in words.
    pub takes: &'static str,
}

const NUMBERS: &str = "a number, a size or a duration";

fn sum(ty: &Type) -> Option<Type> {
    ty.is_number().then(|| ty.clone())
}

fn average(ty: &Type) -> Option<Type> {
    ty.is_number().then(|| ty.to_float())
}

fn quantile(ty: &Type) -> Option<Type> {
    if *ty == Type::Sketch { Some(Type::FLOAT) } else { average(ty) }
}

fn ordered(ty: &Type) -> Option<Type> {
    (ty.is_number() || *ty == Type::Time).then(|| ty.clone())
}

fn any(ty: &Type) -> Option<Type> {
    match ty {
        Type::Tags | Type::Sketch => None,
        Type::List(_) => Some(Type::Str),
        other => Some(other.clone()),
    }
}

fn rate(ty: &Type) -> Option<Type> {
    match ty {
        Type::Number { unit: Unit::One, .. } => Some(Type::RATE),
        Type::Number { unit: Unit::Bytes, .. } => Some(Type::BYTE_RATE),
        Type::Unknown => Some(Type::Unknown),
        _ => None,
    }
}

macro_rules! aggregates {
    ($($name:literal $signature:literal $summary:literal $arguments:literal $make:expr, $typing:expr, $takes:expr;)*) => {
        /// Every aggregate, in the order the reference lists them.
        pub static ALL: &[AggregateSpec] = &[$( AggregateSpec {
            name: $name, signature: $signature, summary: $summary, arguments: $arguments,
            make: $make, typing: $typing, takes: $takes,
        } ),*];
    };
}
aggregates! {
    "count" "count()" "how many rows" 0 |_| Aggregate::Count, |_| Some(Type::INT), "nothing";
    "sum" "sum(x)" "the sum" 1 |_| Aggregate::Sum, sum, NUMBERS;
    "min" "min(x)" "the smallest" 1 |_| Aggregate::Min, ordered, "a number or a time";
    "max" "max(x)" "the largest" 1 |_| Aggregate::Max, ordered, "a number or a time";
    "avg" "avg(x)" "the mean" 1 |_| Aggregate::Avg, average, NUMBERS;
    "first" "first(x)" "the value of the earliest row" 1 |_| Aggregate::First, any, "a column of single values";
    "last" "last(x)" "the value of the latest row" 1 |_| Aggregate::Last, any, "a column of single values";
    "distinct" "distinct(x)" "how many different values, estimated" 1 |_| Aggregate::Distinct, |ty| any(ty).map(|_| Type::INT), "a column of single values";
    "quantile" "quantile(x, 99%)" "a quantile, within 0.8 %" 2 Aggregate::Quantile, quantile, NUMBERS;
    "p50" "p50(x)" "the median" 1 |_| Aggregate::Quantile(0.50), quantile, NUMBERS;
    "p90" "p90(x)" "the 90th percentile" 1 |_| Aggregate::Quantile(0.90), quantile, NUMBERS;
    "p95" "p95(x)" "the 95th percentile" 1 |_| Aggregate::Quantile(0.95), quantile, NUMBERS;
    "p99" "p99(x)" "the 99th percentile" 1 |_| Aggregate::Quantile(0.99), quantile, NUMBERS;
    "rate" "rate(x)" "the sum a second of the window" 1 |_| Aggregate::Rate, rate, "a number or a size";
    "sketch" "sketch(x)" "the sketch behind the quantiles, to be merged downstream" 1 |_| Aggregate::Sketch, |ty| (ty.is_number() || *ty == Type::Sketch).then_some(Type::Sketch), NUMBERS;
}

pub fn find(name: &str) -> Option<&'static AggregateSpec> {
    ALL.iter().find(|a| a.name == name)
}

/// One aggregate of a window.
#[derive(Clone, PartialEq, Debug)]
pub struct AggregateCall {
    pub aggregate: Aggregate,
    /// None for `count()`.
    pub argument: Option<Expr>,
    /// `where:` inside the call.
    pub filter: Option<Expr>,
    pub ty: Type,
}
