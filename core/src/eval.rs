//! Running typed expressions over the columns of a batch.
//!
//! An expression is compiled against the exact columns its input has, then evaluated a column at a
//! time. An absent operand gives an absent result; so do division by zero and overflow, counted.

mod arithmetic;
mod call;
mod compare;
mod hold;
mod numbers;
mod tags;
pub mod text;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_arith::boolean::{and_kleene, not, or_kleene};
use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::types::{Int32Type, UInt8Type, UInt16Type, UInt32Type};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, DictionaryArray, FixedSizeBinaryArray, Float64Array, Int64Array,
    PrimitiveArray, RecordBatch, StringArray, UInt8Array,
};
use arrow_buffer::BooleanBuffer;
use weir_spec::expr::{Expr, Node};
use weir_spec::types::{Type, Unit};
use weir_spec::{Field, Schema, Value};

use crate::columns::{self, data_type};
use crate::ledger::Counts;

/// An expression bound to the columns of one stream.
pub struct Compiled {
    expr: Expr,
    patterns: Patterns,
    columns: Vec<(String, usize)>,
    counts: Arc<Counts>,
}

/// Regular expressions by their text, compiled once.
pub(crate) type Patterns = BTreeMap<String, regex::Regex>;

/// A value for every row, or one value for all of them.
pub(crate) enum Cell {
    Rows(ArrayRef),
    /// An array of length one.
    One(ArrayRef),
}

impl Cell {
    pub(crate) fn array(&self) -> &ArrayRef {
        match self {
            Cell::Rows(array) | Cell::One(array) => array,
        }
    }

    /// Where row `i`'s value stands.
    pub(crate) fn at(&self, i: usize) -> usize {
        if matches!(self, Cell::One(_)) { 0 } else { i }
    }

    fn expand(self, rows: usize) -> ArrayRef {
        match self {
            Cell::Rows(array) => array,
            Cell::One(one) => {
                let indices = arrow_array::UInt32Array::from(vec![0u32; rows]);
                match arrow_select::take::take(&one, &indices, None) {
                    Ok(array) => array,
                    // Position 0 of an array of length one.
                    Err(error) => unreachable!("expand: {error}"),
                }
            }
        }
    }
}

/// The array as the type that checking has promised.
pub(crate) fn cast<T: 'static>(array: &ArrayRef) -> &T {
    array.as_any().downcast_ref().expect("checking gives every operand its type")
}

impl Compiled {
    /// Binds `expr` to columns of `schema`; what it names is there, as checking has made sure.
    pub fn new(expr: &Expr, schema: &Schema, counts: &Arc<Counts>) -> Compiled {
        let columns = schema.names().enumerate().map(|(at, name)| (name.to_string(), at)).collect();
        let mut patterns = Patterns::default();
        call::patterns(expr, &mut patterns);
        Compiled { expr: expr.clone(), patterns, columns, counts: counts.clone() }
    }

    pub fn ty(&self) -> &Type {
        &self.expr.ty
    }

    /// The expression's value for each row, held as columns of its type are.
    pub fn eval(&self, rows: &RecordBatch) -> ArrayRef {
        let array = self.cell(&self.expr, rows).expand(rows.num_rows());
        // A column of words that is passed on as it is becomes plain strings, as computed ones are.
        convert_array(&array, &self.expr.ty, &self.expr.ty)
    }

    /// The expression's value for each row, held as a field says. Values that it cannot hold are absent, and noted as
    /// `out_of_range`.
    pub fn held(&self, rows: &RecordBatch, field: &Field) -> ArrayRef {
        let computed = self.eval(rows);
        let held = hold::hold(&computed, field);
        let lost = held.null_count().saturating_sub(computed.null_count());
        if lost > 0 {
            self.counts.add_noted("out_of_range", lost as u64);
        }
        held
    }

    /// For each row whether it is true; absent counts as not true.
    pub fn mask(&self, rows: &RecordBatch) -> BooleanArray {
        let array = self.eval(rows);
        let values = cast::<BooleanArray>(&array);
        match values.nulls() {
            None => values.clone(),
            Some(nulls) => BooleanArray::new(values.values() & nulls.inner(), None),
        }
    }

    fn cell(&self, expr: &Expr, rows: &RecordBatch) -> Cell {
        match &expr.node {
            Node::Column(name) => Cell::Rows(self.column(name, &expr.ty, rows)),
            Node::Tag { column, key } => Cell::Rows(tag(&self.raw(column, rows), key)),
            Node::Literal(value) => Cell::One(literal(value, &expr.ty)),
            Node::Not(a) => self.logic(a, rows, not),
            Node::And(a, b) => self.logic2(a, b, rows, and_kleene),
            Node::Or(a, b) => self.logic2(a, b, rows, or_kleene),
            Node::Negate(a) => {
                let zero = Cell::One(zero(&a.ty));
                self.numbers(arithmetic::subtract(&zero, &self.cell(a, rows), rows.num_rows()))
            }
            Node::Compare(op, a, b) => compare::compare(*op, &self.cell(a, rows), &self.cell(b, rows), rows.num_rows()),
            Node::In(a, set) => compare::contains(&self.cell(a, rows), &a.ty, set),
            Node::Arithmetic(op, a, b) => {
                let cells = (self.cell(a, rows), self.cell(b, rows));
                let types = (&a.ty, &b.ty, &expr.ty);
                self.numbers(arithmetic::run(*op, &cells.0, &cells.1, types, rows.num_rows()))
            }
            Node::Call(function, args) => {
                let cells: Vec<Cell> = args.iter().map(|a| self.cell(a, rows)).collect();
                let call = call::Call { function: function.function, args, ty: &expr.ty, patterns: &self.patterns };
                call.run(&cells, rows.num_rows())
            }
            Node::Cast(a) => convert(self.cell(a, rows), &a.ty, &expr.ty),
        }
    }

    fn numbers(&self, (cell, absent): (Cell, u64)) -> Cell {
        self.counts.add_noted("arithmetic", absent);
        cell
    }

    fn raw(&self, name: &str, rows: &RecordBatch) -> ArrayRef {
        let at = self.columns.iter().find(|(n, _)| n == name).map(|(_, at)| *at);
        rows.column(at.expect("checking resolves every column")).clone()
    }

    fn column(&self, name: &str, ty: &Type, rows: &RecordBatch) -> ArrayRef {
        let array = self.raw(name, rows);
        if matches!(ty, Type::Enum(_)) { array } else { widen(array) }
    }

    fn logic(
        &self,
        a: &Expr,
        rows: &RecordBatch,
        f: impl Fn(&BooleanArray) -> Result<BooleanArray, arrow_schema::ArrowError>,
    ) -> Cell {
        let a = self.cell(a, rows).expand(rows.num_rows());
        Cell::Rows(Arc::new(f(cast(&a)).expect("one operand has one length")))
    }

    fn logic2(
        &self,
        a: &Expr,
        b: &Expr,
        rows: &RecordBatch,
        f: impl Fn(&BooleanArray, &BooleanArray) -> Result<BooleanArray, arrow_schema::ArrowError>,
    ) -> Cell {
        let n = rows.num_rows();
        let (a, b) = (self.cell(a, rows).expand(n), self.cell(b, rows).expand(n));
        Cell::Rows(Arc::new(f(cast(&a), cast(&b)).expect("operands are as long as the batch")))
    }
}

/// Narrow whole numbers as 64 bits, so that arithmetic has one kind of integer.
fn widen(array: ArrayRef) -> ArrayRef {
    fn up<T: arrow_array::ArrowPrimitiveType>(array: &ArrayRef) -> Option<ArrayRef>
    where
        T::Native: Into<i64>,
    {
        let narrow = array.as_any().downcast_ref::<PrimitiveArray<T>>()?;
        let wide: Int64Array = narrow.unary(|v| v.into());
        Some(Arc::new(wide))
    }
    up::<UInt16Type>(&array).or_else(|| up::<UInt32Type>(&array)).or_else(|| up::<UInt8Type>(&array)).unwrap_or(array)
}

fn zero(ty: &Type) -> ArrayRef {
    if ty.is_float() { Arc::new(Float64Array::from(vec![0.0])) } else { Arc::new(Int64Array::from(vec![0])) }
}

/// A constant as an array of length one, held as columns of its type are.
pub(crate) fn literal(value: &Value, ty: &Type) -> ArrayRef {
    match (value, ty) {
        (Value::None, _) => columns::absent(weir_spec::schema::Repr::of(ty), 1),
        (Value::Bool(b), _) => Arc::new(BooleanArray::from(vec![*b])),
        (Value::Str(text) | Value::Word(text), Type::Enum(e)) => Arc::new(UInt8Array::from(vec![(e.parse)(text)])),
        (Value::Str(text) | Value::Word(text), _) => Arc::new(StringArray::from(vec![text.as_str()])),
        (Value::Ip(ip), _) => Arc::new(columns::ips(vec![*ip], None)),
        (value, ty) if ty.is_float() => Arc::new(Float64Array::from(vec![value.as_f64()])),
        (value, Type::Number { .. } | Type::Time) => Arc::new(Int64Array::from(vec![value.as_i64()])),
        (value, _) => Arc::new(StringArray::from(vec![value.to_string()])),
    }
}

/// The values of one key in a column of tag sets, worked out once a distinct set.
fn tag(tags: &ArrayRef, key: &str) -> ArrayRef {
    let tags = cast::<DictionaryArray<Int32Type>>(tags);
    let sets = cast::<BinaryArray>(tags.values());
    let mut values = ListBuilder::new(StringBuilder::new());
    for set in 0..sets.len() {
        let found = crate::tags::each(sets.value(set)).filter_map(|entry| tags::value_of(entry, key));
        let mut any = false;
        for value in found {
            values.values().append_value(value);
            any = true;
        }
        values.append(any);
    }
    let values: ArrayRef = Arc::new(values.finish());
    match arrow_select::take::take(&values, tags.keys(), None) {
        Ok(array) => array,
        // Keys of a dictionary point into its values.
        Err(error) => unreachable!("tag: {error}"),
    }
}

/// The casts that checking inserts.
fn convert(cell: Cell, from: &Type, to: &Type) -> Cell {
    let one = matches!(cell, Cell::One(_));
    let array = convert_array(cell.array(), from, to);
    if one { Cell::One(array) } else { Cell::Rows(array) }
}

fn convert_array(array: &ArrayRef, from: &Type, to: &Type) -> ArrayRef {
    if array.data_type() == &data_type(weir_spec::schema::Repr::of(to)) {
        return array.clone();
    }
    match (from, to) {
        (_, Type::Number { float: true, unit }) if *unit != Unit::Nanos => {
            let ints = cast::<Int64Array>(array);
            Arc::new(ints.unary::<_, arrow_array::types::Float64Type>(|v| v as f64))
        }
        (_, Type::Str) => Arc::new(text::strings(array, from)),
        _ => array.clone(),
    }
}

/// Sixteen-byte addresses of a cell.
pub(crate) fn ips(array: &ArrayRef) -> &FixedSizeBinaryArray {
    cast(array)
}

/// A boolean column from a test on rows, absent where `valid` is not.
pub(crate) fn booleans(rows: usize, valid: impl Fn(usize) -> bool, f: impl Fn(usize) -> bool) -> ArrayRef {
    let nulls = BooleanBuffer::collect_bool(rows, &valid);
    let values = BooleanBuffer::collect_bool(rows, |i| valid(i) && f(i));
    Arc::new(BooleanArray::new(values, Some(nulls.into())))
}

#[cfg(test)]
mod tests;
