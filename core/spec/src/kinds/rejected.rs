//! `rejected`: what a source could not read, or a sink would not take.

use crate::types::Type;

crate::kind! {
    /// One piece of input that did not become a row.
    pub static REJECTED = "rejected", time "time";
    TIME: "time", I64, Type::Time, "when it was rejected", "";
    REASON: "reason", Word, Type::Str, "why, in one word", "";
    DETAIL: "detail", Text, Type::Str, "why, in full", "error.message";
    SENDER: "sender", Word, Type::Str, "who sent it", "";
    DATA: "data", Text, Type::Str, "the bytes, where they are UTF-8", "event.original";
    DATA_BASE64: "data_base64", Text, Type::Str, "the bytes in base64, where they are not", "";
}
