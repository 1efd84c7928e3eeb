//! Input that did not become a row, as rows of `rejected`.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use weir_core::Time;
use weir_core::columns::{WordBuilder, absent, arrow_schema, record};
use weir_spec::Schema;
use weir_spec::kinds::rejected;

/// Rejected rows that are collected before they are sent.
pub const REJECTED_ROWS: usize = 256;

/// A piece of input that could not be read: why, in full, who sent it, and itself.
#[derive(Clone, Debug)]
pub struct Bad {
    pub reason: &'static str,
    pub detail: Cow<'static, str>,
    pub sender: String,
    pub data: Vec<u8>,
}

/// These pieces as rows, all of one time.
pub fn rows(bad: &[Bad], now: Time, schema: &Schema) -> RecordBatch {
    let words = |f: &dyn Fn(&Bad) -> &str| {
        let mut words = WordBuilder::default();
        bad.iter().for_each(|b| words.push(Some(f(b))));
        words.finish()
    };
    let texts =
        |f: &dyn Fn(&Bad) -> Option<String>| -> ArrayRef { Arc::new(bad.iter().map(f).collect::<StringArray>()) };
    let column = |field: &weir_spec::Field| match field.name.as_str() {
        n if n == rejected::TIME.name => Arc::new(Int64Array::from(vec![now.0; bad.len()])) as ArrayRef,
        n if n == rejected::REASON.name => words(&|b| b.reason),
        n if n == rejected::SENDER.name => words(&|b| &b.sender),
        n if n == rejected::DETAIL.name => texts(&|b| Some(b.detail.to_string())),
        n if n == rejected::DATA.name => texts(&|b| String::from_utf8(b.data.clone()).ok()),
        n if n == rejected::DATA_BASE64.name => texts(&|b| match std::str::from_utf8(&b.data) {
            Ok(_) => None,
            Err(_) => Some(base64(&b.data)),
        }),
        _ => absent(field.repr, bad.len()),
    };
    record(&arrow_schema(schema), schema.fields.iter().map(column).collect(), bad.len())
}

fn base64(data: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(data)
}
