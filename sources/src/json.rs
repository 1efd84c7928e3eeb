//! JSON values as columns of a declared schema.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use arrow_array::builder::{FixedSizeBinaryBuilder, Float64Builder, Int64Builder, ListBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, StringArray, UInt8Array, UInt16Array, UInt32Array,
};
use serde_json::Value as Json;
use weir_core::columns::{WordBuilder, absent, ips};
use weir_core::tags::TagSets;
use weir_spec::schema::Repr;
use weir_spec::types::{Type, Unit};
use weir_spec::value::ip_bytes;
use weir_spec::{Field, units};

/// One value as its column's type holds it.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Absent,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Ip([u8; 16]),
    List(Vec<Cell>),
}

/// The value of a column in an object, found by the dots of its name (or by the name as it stands).
pub fn find<'a>(object: &'a Json, name: &str) -> Option<&'a Json> {
    if let Some(value) = object.get(name) {
        return Some(value);
    }
    let (first, rest) = name.split_once('.')?;
    find(object.get(first)?, rest)
}

/// Reads a value as a type; the error says what belongs there.
pub fn cell(value: Option<&Json>, ty: &Type) -> Result<Cell, String> {
    let value = match value {
        None | Some(Json::Null) => return Ok(Cell::Absent),
        Some(value) => value,
    };
    let wrong = || format!("{} is no {ty}", shorten(value));
    match (ty, value) {
        (Type::Bool, Json::Bool(b)) => Ok(Cell::Bool(*b)),
        (Type::Number { unit: Unit::Nanos, .. }, Json::Number(_)) => {
            seconds(&value.to_string()).map(Cell::Int).ok_or_else(wrong)
        }
        (Type::Number { .. }, Json::String(text)) => quantity(text, ty).ok_or_else(wrong),
        (Type::Number { float: true, .. }, Json::Number(n)) => n.as_f64().map(Cell::Float).ok_or_else(wrong),
        (Type::Number { .. }, Json::Number(n)) => whole(n).map(Cell::Int).ok_or_else(wrong),
        (Type::Time, Json::String(text)) => units::parse_time(text).map(Cell::Int).ok_or_else(wrong),
        (Type::Enum(e), Json::String(text)) => {
            (e.parse)(text).map(|b| Cell::Int(b.into())).ok_or_else(|| format!("`{}` is never {text:?}", e.name))
        }
        (Type::Ip, Json::String(text)) => text.parse::<IpAddr>().map(|ip| Cell::Ip(ip_bytes(ip))).map_err(|_| wrong()),
        (Type::Str | Type::Cidr | Type::Secret, Json::String(text)) => Ok(Cell::Text(text.clone())),
        (Type::Str, Json::Number(_) | Json::Bool(_)) => Ok(Cell::Text(value.to_string())),
        (Type::List(of), Json::Array(items)) => {
            items.iter().map(|i| cell(Some(i), of)).collect::<Result<_, _>>().map(Cell::List)
        }
        (Type::List(of), one) => cell(Some(one), of).map(|c| Cell::List(vec![c])),
        (Type::Tags, Json::Array(items)) => {
            items.iter().map(|i| cell(Some(i), &Type::Str)).collect::<Result<_, _>>().map(Cell::List)
        }
        (Type::Tags, Json::Object(entries)) => Ok(Cell::List(entries.iter().flat_map(|(k, v)| tags(k, v)).collect())),
        _ => Err(wrong()),
    }
}

/// `{"team": "a"}` or `{"team": ["a", "b"]}` as `team:a`, `team:b`.
fn tags(key: &str, value: &Json) -> Vec<Cell> {
    let one = |v: &Json| match v {
        Json::String(text) => Cell::Text(format!("{key}:{text}")),
        other => Cell::Text(format!("{key}:{other}")),
    };
    match value {
        Json::Array(items) => items.iter().map(one).collect(),
        other => vec![one(other)],
    }
}

fn whole(n: &serde_json::Number) -> Option<i64> {
    n.as_i64().or_else(|| n.as_f64().filter(|x| x.fract() == 0.0 && x.abs() < 9e15).map(|x| x as i64))
}

fn quantity(text: &str, ty: &Type) -> Option<Cell> {
    let value: weir_spec::Value = units::parse_quantity(text).ok()?.into();
    (value.ty().unit() == ty.unit()).then_some(())?;
    match ty.is_float() {
        true => value.as_f64().map(Cell::Float),
        false => value.as_i64().map(Cell::Int),
    }
}

/// A decimal number of seconds as nanoseconds, exactly where it has at most nine digits.
fn seconds(text: &str) -> Option<i64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-');
    if !plain {
        let x: f64 = text.parse().ok()?;
        return (x.abs() < 9.2e9).then(|| (x * 1e9).round() as i64);
    }
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let part: String = part.chars().chain("000000000".chars()).take(9).collect();
    let nanos = whole.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(part.parse().ok()?)?;
    Some(sign * nanos)
}

/// Longest piece of a value that a message quotes.
const QUOTED_CHARS_MAX: usize = 60;

fn shorten(value: &Json) -> String {
    let text = value.to_string();
    match text.chars().count() > QUOTED_CHARS_MAX {
        true => text.chars().take(QUOTED_CHARS_MAX).chain(['…']).collect(),
        false => text,
    }
}

/// Cells as the array that the field's representation is.
pub fn column(cells: &[Cell], field: &Field) -> ArrayRef {
    let int = |c: &Cell| match c {
        Cell::Int(n) => Some(*n),
        _ => None,
    };
    let text = |c: &Cell| match c {
        Cell::Text(text) => Some(text.clone()),
        _ => None,
    };
    match field.repr {
        Repr::Bool => Arc::new(
            cells.iter().map(|c| if let Cell::Bool(b) = c { Some(*b) } else { None }).collect::<BooleanArray>(),
        ),
        Repr::I64 => Arc::new(cells.iter().map(int).collect::<Int64Array>()),
        Repr::U8 => Arc::new(cells.iter().map(|c| int(c).map(|n| n as u8)).collect::<UInt8Array>()),
        Repr::U16 => {
            Arc::new(cells.iter().map(|c| int(c).and_then(|n| u16::try_from(n).ok())).collect::<UInt16Array>())
        }
        Repr::U32 => {
            Arc::new(cells.iter().map(|c| int(c).and_then(|n| u32::try_from(n).ok())).collect::<UInt32Array>())
        }
        Repr::F64 => Arc::new(
            cells.iter().map(|c| if let Cell::Float(x) = c { Some(*x) } else { None }).collect::<Float64Array>(),
        ),
        Repr::Text => Arc::new(cells.iter().map(text).collect::<StringArray>()),
        Repr::Word => {
            let mut words = WordBuilder::default();
            cells.iter().for_each(|c| words.push(text(c).as_deref()));
            words.finish()
        }
        Repr::Ip => {
            let values: Vec<[u8; 16]> =
                cells.iter().map(|c| if let Cell::Ip(ip) = c { *ip } else { [0; 16] }).collect();
            let valid: Vec<bool> = cells.iter().map(|c| *c != Cell::Absent).collect();
            Arc::new(ips(values, Some(valid.into())))
        }
        Repr::TextList => Arc::new(text_lists(cells)),
        Repr::Tags => tag_sets(cells),
        Repr::IntList => {
            let mut lists = ListBuilder::new(Int64Builder::new());
            for cell in cells {
                items(cell).iter().for_each(|c| lists.values().append_option(int(c)));
                lists.append(*cell != Cell::Absent);
            }
            Arc::new(lists.finish())
        }
        Repr::FloatList => {
            let mut lists = ListBuilder::new(Float64Builder::new());
            for cell in cells {
                items(cell)
                    .iter()
                    .for_each(|c| lists.values().append_option(if let Cell::Float(x) = c { Some(*x) } else { None }));
                lists.append(*cell != Cell::Absent);
            }
            Arc::new(lists.finish())
        }
        Repr::IpList => {
            let mut lists = ListBuilder::new(FixedSizeBinaryBuilder::new(16));
            for cell in cells {
                for item in items(cell) {
                    match item {
                        // Sixteen bytes are as wide as the builder says.
                        Cell::Ip(ip) => lists.values().append_value(ip).unwrap_or_else(|e| unreachable!("ip: {e}")),
                        _ => lists.values().append_null(),
                    }
                }
                lists.append(*cell != Cell::Absent);
            }
            Arc::new(lists.finish())
        }
        // No source declares these in JSON.
        Repr::Sketch => absent(field.repr, cells.len()),
    }
}

fn items(cell: &Cell) -> &[Cell] {
    match cell {
        Cell::List(items) => items,
        _ => &[],
    }
}

fn text_lists(cells: &[Cell]) -> ListArray {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for cell in cells {
        for item in items(cell) {
            match item {
                Cell::Text(text) => lists.values().append_value(text),
                _ => lists.values().append_null(),
            }
        }
        lists.append(*cell != Cell::Absent);
    }
    lists.finish()
}

/// Each distinct set once.
fn tag_sets(cells: &[Cell]) -> ArrayRef {
    let mut known: HashMap<Vec<&str>, i32> = HashMap::new();
    let mut sets = TagSets::default();
    for cell in cells {
        if *cell == Cell::Absent {
            sets.row_absent();
            continue;
        }
        let set = items(cell).iter().filter_map(|item| match item {
            Cell::Text(text) => Some(text.as_str()),
            _ => None,
        });
        let set = set.collect();
        let number = *known.entry(set).or_insert_with_key(|set| {
            set.iter().for_each(|tag| sets.tag(tag.as_bytes()));
            sets.end_set()
        });
        sets.row(number);
    }
    sets.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_exact() {
        assert_eq!(seconds("0.000000001"), Some(1));
        assert_eq!(seconds("1.5"), Some(1_500_000_000));
        assert_eq!(seconds("-2"), Some(-2_000_000_000));
        assert_eq!(seconds("1e-3"), Some(1_000_000));
        assert_eq!(seconds("99999999999999"), None);
    }
}
