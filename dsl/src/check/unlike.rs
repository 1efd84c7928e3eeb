//! What tells the columns of two streams apart, in words.

use weir_spec::Stream;
use weir_spec::types::{Type, Unit, article};

use crate::nearest::list;

/// What the values of a column are.
pub(super) fn values_of(ty: &Type) -> String {
    match ty {
        Type::Enum(words) => format!("one of {}", list(words.labels.iter().copied())),
        Type::Number { float: true, unit: Unit::Bytes } => format!("{} with a fraction", article(ty)),
        _ => article(ty),
    }
}

/// What is said at a stream, and at another one that has other columns.
pub(super) fn said_of(stream: &Stream, other: &Stream) -> (String, String) {
    let kinds = (stream.row.name(), other.row.name());
    if kinds.0 != kinds.1 {
        let columns = list(other.schema.names());
        return (format!("this is a `{}`", kinds.0), format!("this is a `{}` with {columns}", kinds.1));
    }
    let missing = |of: &Stream, from: &Stream| -> Vec<String> {
        of.schema.names().filter(|name| from.schema.field(name).is_none()).map(str::to_string).collect()
    };
    let has = |names: &[String]| format!("only this has {}", list(names.iter().map(String::as_str)));
    let lacks = |names: &[String]| format!("this has no {}", list(names.iter().map(String::as_str)));
    match (missing(stream, other), missing(other, stream)) {
        (mine, theirs) if !mine.is_empty() && !theirs.is_empty() => (has(&mine), has(&theirs)),
        (mine, _) if !mine.is_empty() => (has(&mine), lacks(&mine)),
        (_, theirs) if !theirs.is_empty() => (lacks(&theirs), has(&theirs)),
        _ => types_or_order(stream, other),
    }
}

/// The same of streams whose columns have the same names.
fn types_or_order(stream: &Stream, other: &Stream) -> (String, String) {
    let unlike = stream.schema.fields.iter().find_map(|field| {
        let theirs = other.schema.field(&field.name)?;
        (theirs.ty != field.ty).then_some((field, theirs))
    });
    match unlike {
        Some((mine, theirs)) => {
            let is = |ty: &Type| format!("here `{}` is {}", mine.name, values_of(ty));
            (is(&mine.ty), is(&theirs.ty))
        }
        None => {
            let names = stream.schema.names().zip(other.schema.names());
            let (at, names) = names.enumerate().find(|(_, (mine, theirs))| mine != theirs).unwrap_or_default();
            let is = |name: &str| format!("here `{name}` is number {} of the columns", at + 1);
            (is(names.0), is(names.1))
        }
    }
}
