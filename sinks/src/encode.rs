//! Rows to bytes, as more than one sink writes them.

pub mod json;
pub mod table;

use std::sync::Arc;

use weir_core::component::Encoder;
use weir_spec::Schema;

/// Encodings by the word an option names them with.
pub const WORDS: &[&str] = &["table", "ndjson"];

/// The encoder of that word. `color` is for tables on a terminal.
pub fn encoder(word: &str, schema: &Arc<Schema>, color: bool, bounded: bool) -> Box<dyn Encoder> {
    match word {
        "ndjson" => Box::new(json::NdJson::new(schema)),
        _ => Box::new(table::Table::new(schema, color, bounded)),
    }
}
