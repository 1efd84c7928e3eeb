//! Rows as JSON: nested by the dots of the names, absent values left out.
//!
//! Times are RFC 3339 in UTC with nanoseconds, durations seconds, sizes bytes.

use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, DictionaryArray, Float64Array, ListArray, RecordBatch, StringArray,
    StructArray,
};
use bytes::{BufMut, BytesMut};
use weir_core::component::{Encoded, Encoder, Route};
use weir_core::eval::text::{int, text};
use weir_core::tags;
use weir_spec::types::{Type, Unit};
use weir_spec::{Schema, units};

/// One object a line.
pub struct NdJson {
    schema: Arc<Schema>,
    root: Vec<(String, Shape)>,
}

/// Where a column stands in the object.
enum Shape {
    Column(usize),
    Object(Vec<(String, Shape)>),
}

impl NdJson {
    pub fn new(schema: &Arc<Schema>) -> NdJson {
        let mut root = Vec::new();
        for (at, name) in schema.names().enumerate() {
            place(&mut root, name, at);
        }
        NdJson { schema: schema.clone(), root }
    }

    /// Writes one row as an object, without the line's end.
    pub fn row(&self, rows: &RecordBatch, row: usize, into: &mut BytesMut) {
        if !self.object(&self.root, rows, row, into) {
            into.put_slice(b"{}");
        }
    }

    /// Writes the members that are there; nothing at all if none is.
    fn object(&self, members: &[(String, Shape)], rows: &RecordBatch, row: usize, into: &mut BytesMut) -> bool {
        let start = into.len();
        for (name, shape) in members {
            let mark = into.len();
            into.put_u8(if mark == start { b'{' } else { b',' });
            string(name, into);
            into.put_u8(b':');
            let there = match shape {
                Shape::Object(members) => self.object(members, rows, row, into),
                Shape::Column(at) => value(rows.column(*at), &self.schema.fields[*at].ty, row, into),
            };
            if !there {
                into.truncate(mark);
            }
        }
        if into.len() > start {
            into.put_u8(b'}');
        }
        into.len() > start
    }
}

/// A name whose first part is already a column (`a` beside `a.b`) keeps its dots.
fn place(members: &mut Vec<(String, Shape)>, name: &str, at: usize) {
    let Some((first, rest)) = name.split_once('.') else {
        return members.push((name.to_string(), Shape::Column(at)));
    };
    match members.iter_mut().find(|(n, _)| n == first) {
        None => {
            let mut inner = Vec::new();
            place(&mut inner, rest, at);
            members.push((first.to_string(), Shape::Object(inner)));
        }
        Some((_, Shape::Object(inner))) => place(inner, rest, at),
        Some(_) => members.push((name.to_string(), Shape::Column(at))),
    }
}

impl Encoder for NdJson {
    fn encode(&mut self, _: Route, rows: &RecordBatch, into: &mut BytesMut) -> Encoded {
        for row in 0..rows.num_rows() {
            self.row(rows, row, into);
            into.put_u8(b'\n');
        }
        Encoded::All
    }
}

/// Writes one value; `false` and nothing if it is absent.
fn value(array: &ArrayRef, ty: &Type, row: usize, into: &mut BytesMut) -> bool {
    if array.is_null(row) {
        return false;
    }
    let any = array.as_any();
    if let Some(words) = any.downcast_ref::<DictionaryArray<Int32Type>>() {
        return value(words.values(), ty, words.keys().value(row) as usize, into);
    }
    if let Some(sets) = any.downcast_ref::<BinaryArray>() {
        tag_set(sets.value(row), into);
        return true;
    }
    if let Some(lists) = any.downcast_ref::<ListArray>() {
        list(&lists.value(row), ty.element(), into);
        return true;
    }
    match ty {
        Type::Bool => {
            let truth = any.downcast_ref::<BooleanArray>().is_some_and(|a| a.value(row));
            into.put_slice(if truth { b"true" } else { b"false" });
        }
        Type::Number { float: true, .. } => {
            return float(any.downcast_ref::<Float64Array>().map_or(f64::NAN, |a| a.value(row)), into);
        }
        Type::Number { unit: Unit::Nanos, .. } => seconds(int(array, row), into),
        Type::Number { .. } => write(into, format_args!("{}", int(array, row))),
        Type::Time => write(into, format_args!("\"{}\"", units::time(int(array, row)))),
        Type::Sketch => {
            if let Some(sketch) = any.downcast_ref::<StructArray>() {
                structure(sketch, row, into);
            }
        }
        ty => match any.downcast_ref::<StringArray>() {
            Some(strings) => string(strings.value(row), into),
            None => string(&text(array, ty, row).unwrap_or_default(), into),
        },
    }
    true
}

fn tag_set(set: &[u8], into: &mut BytesMut) {
    into.put_u8(b'[');
    for (at, tag) in tags::each(set).enumerate() {
        if at > 0 {
            into.put_u8(b',');
        }
        string(tag, into);
    }
    into.put_u8(b']');
}

/// What is no number of JSON is `null`, so that the others keep their places.
fn list(values: &ArrayRef, ty: &Type, into: &mut BytesMut) {
    into.put_u8(b'[');
    for at in 0..values.len() {
        if at > 0 {
            into.put_u8(b',');
        }
        let mark = into.len();
        if !value(values, ty, at, into) {
            into.truncate(mark);
            into.put_slice(b"null");
        }
    }
    into.put_u8(b']');
}

fn structure(sketch: &StructArray, row: usize, into: &mut BytesMut) {
    let mut first = true;
    for (field, column) in sketch.fields().iter().zip(sketch.columns()) {
        let ty = match field.name().as_str() {
            "count" => Type::INT,
            "keys" | "counts" => Type::List(&Type::INT),
            _ => Type::FLOAT,
        };
        let mark = into.len();
        into.put_u8(if first { b'{' } else { b',' });
        string(field.name(), into);
        into.put_u8(b':');
        match value(column, &ty, row, into) {
            true => first = false,
            false => into.truncate(mark),
        }
    }
    into.put_slice(if first { b"{}" } else { b"}" });
}

/// A number of JSON; what is none has no place there and is left out.
fn float(x: f64, into: &mut BytesMut) -> bool {
    match x.is_finite() {
        true => serde_json::to_writer(into.writer(), &x).is_ok(),
        false => false,
    }
}

/// Nanoseconds as a decimal number of seconds, exactly.
fn seconds(nanos: i64, into: &mut BytesMut) {
    let sign = if nanos < 0 { "-" } else { "" };
    let (whole, part) = (nanos.unsigned_abs() / 1_000_000_000, nanos.unsigned_abs() % 1_000_000_000);
    let digits = format!("{part:09}");
    let digits = digits.trim_end_matches('0');
    match digits {
        "" => write(into, format_args!("{sign}{whole}")),
        digits => write(into, format_args!("{sign}{whole}.{digits}")),
    }
}

fn write(into: &mut BytesMut, text: std::fmt::Arguments) {
    // Writing into memory cannot fail.
    let _ = std::fmt::Write::write_fmt(into, text);
}

fn string(text: &str, into: &mut BytesMut) {
    // Writing a string into memory cannot fail.
    let _ = serde_json::to_writer(into.writer(), text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::Int64Array;
    use weir_spec::Field;

    #[test]
    fn rows_nest_by_their_dots_and_leave_absent_values_out() {
        let field = |name: &str, ty| Field::new(name, ty);
        let schema = Arc::new(Schema {
            fields: vec![
                field("src.port", Type::INT),
                field("src.name", Type::Str),
                field("rtt", Type::DURATION),
                field("at", Type::Time),
                field("dst.ip", Type::Ip),
            ],
        });
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![443, 1])),
            Arc::new(StringArray::from(vec![Some("a\"b"), None])),
            Arc::new(Int64Array::from(vec![Some(1_500_000), None])),
            Arc::new(Int64Array::from(vec![Some(0), None])),
            weir_core::columns::absent(weir_spec::schema::Repr::Ip, 2),
        ];
        let rows = RecordBatch::try_new(weir_core::columns::arrow_schema(&schema), columns).unwrap();
        let mut out = BytesMut::new();
        NdJson::new(&schema).encode(0, &rows, &mut out);
        insta::assert_snapshot!(String::from_utf8_lossy(&out), @r#"
        {"src":{"port":443,"name":"a\"b"},"rtt":0.0015,"at":"1970-01-01T00:00:00.000000000Z"}
        {"src":{"port":1}}
        "#);
    }
}
