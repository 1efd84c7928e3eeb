//! The functions of the language.

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int64Array, ListArray, StringArray, UInt8Array,
};
use arrow_select::zip::zip;
use weir_spec::expr::Node;
use weir_spec::function::Function;
use weir_spec::kinds::enums::protocol::{SCTP, TCP, UDP};
use weir_spec::types::Type;
use weir_spec::value::{Cidr, ipv4};
use weir_spec::{Expr, Value, units};

use super::{Cell, Patterns, booleans, cast, ips, numbers, tags, text};
use crate::columns::addresses;
use crate::community;

/// A call of a function; checking has made its arguments right.
pub(super) struct Call<'a> {
    pub function: Function,
    pub args: &'a [Expr],
    pub ty: &'a Type,
    pub patterns: &'a Patterns,
}

/// Compiles the patterns of every `matches` in an expression.
pub(super) fn patterns(expr: &Expr, into: &mut Patterns) {
    if let Node::Call(spec, args) = &expr.node
        && spec.function == Function::Matches
        && let Some(text) = args.get(1).and_then(literal_text)
        && let Ok(pattern) = regex::Regex::new(text)
    {
        into.insert(text.to_string(), pattern);
    }
    expr.children().into_iter().for_each(|child| patterns(child, into));
}

/// The text of an argument that is the same for every row.
fn literal_text(mut expr: &Expr) -> Option<&str> {
    while let Node::Cast(inner) = &expr.node {
        expr = inner;
    }
    expr.as_literal().and_then(Value::as_str)
}

impl Call<'_> {
    pub fn run(&self, cells: &[Cell], rows: usize) -> Cell {
        if cells.iter().all(|c| matches!(c, Cell::One(_))) {
            return Cell::One(same_kind(self.rows(cells, 1), self.ty));
        }
        Cell::Rows(same_kind(self.rows(cells, rows), self.ty))
    }

    fn text(&self, at: usize) -> &str {
        self.args.get(at).and_then(literal_text).unwrap_or_default()
    }

    fn rows(&self, cells: &[Cell], rows: usize) -> ArrayRef {
        let args = self.args;
        let full = |at: usize| expand(&cells[at], rows);
        match self.function {
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
                    best = extreme(self.function == Function::Max, &best, &full(at));
                }
                best
            }
            Function::Clamp => extreme(false, &extreme(true, &full(0), &full(1)), &full(2)),
            Function::Abs => absolute(&full(0)),
            Function::Round => numbers::whole(&full(0), f64::round, self.ty),
            Function::Ceil => numbers::whole(&full(0), f64::ceil, self.ty),
            Function::Floor if args.len() == 2 => numbers::floor_to(&full(0), &full(1)),
            Function::Floor => numbers::whole(&full(0), f64::floor, self.ty),
            Function::Log => numbers::log(&full(0), cells.get(1).map(|_| full(1)).as_ref()),
            Function::Mod => numbers::modulo(&full(0), &full(1)),
            Function::Lower => map_text(&full(0), str::to_lowercase),
            Function::Upper => map_text(&full(0), str::to_uppercase),
            Function::Trim => map_text(&full(0), |text| text.trim().to_string()),
            Function::Split => split(&full(0), &full(1)),
            Function::Replace => replace(&full(0), &full(1), &full(2)),
            Function::Matches => match self.patterns.get(self.text(1)) {
                Some(pattern) => test_one(&full(0), |text| pattern.is_match(text)),
                None => unreachable!("checking has compiled every pattern"),
            },
            Function::FormatTime => {
                let times = full(0);
                let times = cast::<Int64Array>(&times);
                let one = |time: Option<i64>| units::format_time(time?, self.text(1));
                Arc::new(times.iter().map(one).collect::<StringArray>())
            }
            Function::Any => tags::any(&full(0), cells.get(1).map(|_| full(1)).as_ref(), &args[0].ty),
            Function::HasTag => tags::has(&full(0), self.text(1), cells.get(2).map(|_| full(2)).as_ref()),
            Function::WithTag => tags::with(&full(0), self.text(1), &full(2)),
            Function::WithoutTag => tags::without(&full(0), self.text(1)),
            Function::Hash => {
                let columns: Vec<ArrayRef> = (0..cells.len()).map(full).collect();
                let types: Vec<&Type> = args.iter().map(|a| &a.ty).collect();
                Arc::new((0..rows).map(|i| hash_row(&columns, &types, i)).collect::<Int64Array>())
            }
            Function::CommunityId => {
                let columns: Vec<ArrayRef> = (0..cells.len()).map(full).collect();
                Arc::new((0..rows).map(|i| community_id(&columns, i)).collect::<StringArray>())
            }
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
    }
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
        arrow_schema::DataType::Dictionary(_, of) if **of == arrow_schema::DataType::Utf8 => {
            Arc::new(text::strings(array, &Type::Str))
        }
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

/// What `f` gives for each row's text: once for each word where words repeat.
fn each_text<T: Clone>(array: &ArrayRef, mut f: impl FnMut(&str) -> T) -> Vec<Option<T>> {
    if let Some(words) = array.as_any().downcast_ref::<DictionaryArray<Int32Type>>() {
        let of = cast::<StringArray>(words.values());
        let mut known: Vec<Option<T>> = vec![None; of.len()];
        let mut one = |key: i32| known[key as usize].get_or_insert_with(|| f(of.value(key as usize))).clone();
        return words.keys().iter().map(|key| key.map(&mut one)).collect();
    }
    let strings = text::strings(array, &Type::Str);
    strings.iter().map(|text| text.map(&mut f)).collect()
}

fn map_text(array: &ArrayRef, f: impl Fn(&str) -> String) -> ArrayRef {
    Arc::new(each_text(array, f).into_iter().collect::<StringArray>())
}

fn test_one(array: &ArrayRef, f: impl Fn(&str) -> bool) -> ArrayRef {
    Arc::new(each_text(array, f).into_iter().collect::<BooleanArray>())
}

fn test_text(a: &ArrayRef, b: &ArrayRef, f: impl Fn(&str, &str) -> bool) -> ArrayRef {
    let b = text::strings(b, &Type::Str);
    // One text beside many: looked for once in each word.
    if b.null_count() == 0 && (1..b.len()).all(|i| b.value(i) == b.value(0)) && !b.is_empty() {
        return test_one(a, |text| f(text, b.value(0)));
    }
    let a = text::strings(a, &Type::Str);
    booleans(a.len(), |i| a.is_valid(i) && b.is_valid(i), |i| f(a.value(i), b.value(i)))
}

fn split(array: &ArrayRef, separator: &ArrayRef) -> ArrayRef {
    let (texts, separators) = (text::strings(array, &Type::Str), text::strings(separator, &Type::Str));
    let mut lists = ListBuilder::new(StringBuilder::new());
    for (text, separator) in texts.iter().zip(separators.iter()) {
        let pieces = text.zip(separator);
        if let Some((text, separator)) = pieces {
            match separator.is_empty() {
                true => lists.values().append_value(text),
                false => text.split(separator).for_each(|piece| lists.values().append_value(piece)),
            }
        }
        lists.append(pieces.is_some());
    }
    Arc::new(lists.finish())
}

fn replace(array: &ArrayRef, what: &ArrayRef, with: &ArrayRef) -> ArrayRef {
    let columns = [array, what, with].map(|a| text::strings(a, &Type::Str));
    let [texts, what, with] = &columns;
    let one = |i: usize| {
        let there = columns.iter().all(|c| c.is_valid(i));
        there.then(|| match what.value(i).is_empty() {
            true => texts.value(i).to_string(),
            false => texts.value(i).replace(what.value(i), with.value(i)),
        })
    };
    Arc::new((0..texts.len()).map(one).collect::<StringArray>())
}

/// A hash that no version changes: FNV-1a over the texts, each with its length before it.
fn hash_row(columns: &[ArrayRef], types: &[&Type], i: usize) -> Option<i64> {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut eat = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    for (column, ty) in columns.iter().zip(types) {
        let text = text::text(column, ty, i)?;
        (text.len() as u32).to_le_bytes().into_iter().for_each(&mut eat);
        text.bytes().for_each(&mut eat);
    }
    // FNV's low bits are weak where texts differ in their last byte alone.
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    Some(((mixed ^ (mixed >> 32)) >> 1) as i64)
}

fn community_id(columns: &[ArrayRef], i: usize) -> Option<String> {
    if columns.iter().any(|column| column.is_null(i)) {
        return None;
    }
    let protocol = cast::<UInt8Array>(&columns[2]).value(i);
    let end = |ip: usize, port: usize| {
        let port = u16::try_from(text::int(&columns[port], i)).ok()?;
        Some((addresses(ips(&columns[ip]))[i], port))
    };
    let mut ends = [end(0, 3)?, end(1, 4)?];
    ends.sort_unstable();
    matches!(protocol, TCP | UDP | SCTP).then(|| community::id(protocol, ends))
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
        if !(0..=width).contains(&bits.value(i)) {
            return None;
        }
        let prefix = offset + bits.value(i) as u8;
        let mask = weir_spec::value::mask(prefix);
        let base = (u128::from_be_bytes(values[i]) & mask).to_be_bytes();
        Some(Cidr { base, prefix }.to_string())
    };
    Arc::new((0..array.len()).map(one).collect::<StringArray>())
}
