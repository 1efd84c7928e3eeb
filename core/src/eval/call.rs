//! The functions of the language.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, StringArray};
use arrow_select::zip::zip;
use weir_spec::Expr;
use weir_spec::function::Function;
use weir_spec::types::Type;
use weir_spec::value::{Cidr, ipv4};

use super::{Cell, booleans, cast, ips, text};
use crate::columns::addresses;

/// Calls a function; checking has made its arguments right.
pub(super) fn call(f: Function, args: &[Expr], cells: &[Cell], ty: &Type, rows: usize) -> Cell {
    if cells.iter().all(|c| matches!(c, Cell::One(_))) {
        return Cell::One(rows_of(f, args, cells, ty, 1));
    }
    Cell::Rows(rows_of(f, args, cells, ty, rows))
}

fn rows_of(f: Function, args: &[Expr], cells: &[Cell], ty: &Type, rows: usize) -> ArrayRef {
    let full = |at: usize| expand(&cells[at], rows);
    match f {
        Function::If => {
            let condition = full(0);
            let chosen = choose(&truth(cast(&condition)), &full(1), &full(2));
            let known = booleans(rows, |_| true, |i| condition.is_valid(i));
            let nothing = arrow_array::new_null_array(chosen.data_type(), rows);
            choose(cast(&known), &chosen, &nothing)
        }
        Function::Coalesce => {
            let mut value = full(0);
            for at in 1..cells.len() {
                let there = booleans(rows, |_| true, |i| value.is_valid(i));
                value = choose(cast(&there), &value, &full(at));
            }
            value
        }
        Function::Min | Function::Max => {
            let mut best = full(0);
            for at in 1..cells.len() {
                best = extreme(f == Function::Max, &best, &full(at));
            }
            best
        }
        Function::Abs => absolute(&full(0)),
        Function::Lower => map_text(&full(0), str::to_lowercase),
        Function::Upper => map_text(&full(0), str::to_uppercase),
        Function::Contains => test_text(&full(0), &full(1), |text, part| text.contains(part)),
        Function::StartsWith => test_text(&full(0), &full(1), |text, part| text.starts_with(part)),
        Function::EndsWith => test_text(&full(0), &full(1), |text, part| text.ends_with(part)),
        Function::Len => length(&full(0)),
        Function::Format => {
            let columns: Vec<ArrayRef> = (0..cells.len()).map(full).collect();
            let types: Vec<&Type> = args.iter().map(|a| &a.ty).collect();
            Arc::new((0..rows).map(|i| format_row(&columns, &types, i)).collect::<StringArray>())
        }
        Function::Network => network(&full(0), &full(1)),
        Function::IsPrivate => {
            let array = full(0);
            let private: Vec<Cidr> = PRIVATE.iter().filter_map(|n| Cidr::parse(n)).collect();
            let values = addresses(ips(&array));
            booleans(rows, |i| array.is_valid(i), |i| private.iter().any(|n| n.contains(&values[i])))
        }
    }
    .pipe(|array| same_kind(array, ty))
}

/// Networks that are nobody's in public (RFC 1918, 4193, 3927, 4291; loopback).
const PRIVATE: &[&str] = &[
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
];

trait Pipe: Sized {
    fn pipe<T>(self, f: impl FnOnce(Self) -> T) -> T {
        f(self)
    }
}
impl Pipe for ArrayRef {}

/// A call whose arguments are all absent keeps the type that checking gave it.
fn same_kind(array: ArrayRef, ty: &Type) -> ArrayRef {
    if array.data_type() == &arrow_schema::DataType::Null {
        return crate::columns::absent(weir_spec::schema::Repr::of(ty), array.len());
    }
    array
}

fn expand(cell: &Cell, rows: usize) -> ArrayRef {
    match cell {
        Cell::Rows(array) => array.clone(),
        Cell::One(one) => Cell::One(one.clone()).expand(rows),
    }
}

fn truth(condition: &BooleanArray) -> BooleanArray {
    match condition.nulls() {
        None => condition.clone(),
        Some(nulls) => BooleanArray::new(condition.values() & nulls.inner(), None),
    }
}

fn choose(condition: &BooleanArray, then: &ArrayRef, other: &ArrayRef) -> ArrayRef {
    let (then, other) = (plain(then), plain(other));
    zip(condition, &then, &other).expect("checking gives both branches one type")
}

/// Dictionaries as plain strings, where two columns have to meet.
fn plain(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        arrow_schema::DataType::Dictionary(..) => Arc::new(text::strings(array, &Type::Str)),
        _ => array.clone(),
    }
}

fn extreme(largest: bool, a: &ArrayRef, b: &ArrayRef) -> ArrayRef {
    let kernel = if largest { arrow_ord::cmp::gt_eq } else { arrow_ord::cmp::lt_eq };
    let first = kernel(a, b).expect("checking gives all arguments one type");
    // Absent if either is: the comparison is then absent, and so is what is not chosen.
    let chosen = choose(&truth(&first), a, b);
    let both = booleans(a.len(), |_| true, |i| a.is_valid(i) && b.is_valid(i));
    let nothing = arrow_array::new_null_array(chosen.data_type(), chosen.len());
    choose(cast(&both), &chosen, &nothing)
}

fn absolute(array: &ArrayRef) -> ArrayRef {
    match array.as_any().downcast_ref::<Float64Array>() {
        Some(floats) => Arc::new(floats.unary::<_, arrow_array::types::Float64Type>(f64::abs)),
        None => Arc::new(cast::<Int64Array>(array).unary_opt::<_, arrow_array::types::Int64Type>(i64::checked_abs)),
    }
}

fn map_text(array: &ArrayRef, f: impl Fn(&str) -> String) -> ArrayRef {
    let strings = text::strings(array, &Type::Str);
    Arc::new(strings.iter().map(|text| text.map(&f)).collect::<StringArray>())
}

fn test_text(a: &ArrayRef, b: &ArrayRef, f: impl Fn(&str, &str) -> bool) -> ArrayRef {
    let (a, b) = (text::strings(a, &Type::Str), text::strings(b, &Type::Str));
    booleans(a.len(), |i| a.is_valid(i) && b.is_valid(i), |i| f(a.value(i), b.value(i)))
}

fn length(array: &ArrayRef) -> ArrayRef {
    if let Some(lists) = array.as_any().downcast_ref::<ListArray>() {
        let each = (0..lists.len()).map(|i| lists.is_valid(i).then(|| i64::from(lists.value_length(i))));
        return Arc::new(each.collect::<Int64Array>());
    }
    let strings = text::strings(array, &Type::Str);
    Arc::new(strings.iter().map(|t| t.map(|t| t.chars().count() as i64)).collect::<Int64Array>())
}

fn format_row(columns: &[ArrayRef], types: &[&Type], i: usize) -> Option<String> {
    let template = text::text(&columns[0], types[0], i)?;
    let mut out = String::with_capacity(template.len());
    for (at, piece) in template.split("{}").enumerate() {
        if at > 0 {
            out += &text::text(&columns[at], types[at], i)?;
        }
        out += piece;
    }
    Some(out)
}

fn network(array: &ArrayRef, bits: &ArrayRef) -> ArrayRef {
    let values = addresses(ips(array));
    let bits = cast::<Int64Array>(bits);
    let one = |i: usize| {
        if array.is_null(i) || bits.is_null(i) {
            return None;
        }
        let v4 = Cidr { base: ipv4([0; 4]), prefix: 96 }.contains(&values[i]);
        let (offset, width) = if v4 { (96, 32) } else { (0, 128) };
        let prefix = offset + bits.value(i).clamp(0, width) as u8;
        let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
        let base = (u128::from_be_bytes(values[i]) & mask).to_be_bytes();
        Some(Cidr { base, prefix }.to_string())
    };
    Arc::new((0..array.len()).map(one).collect::<StringArray>())
}
