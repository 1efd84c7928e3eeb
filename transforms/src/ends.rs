//! The two ends of a conversation: what a column is called at the other one.

use arrow_array::{ArrayRef, RecordBatch};
use weir_core::columns::absent;
use weir_spec::kinds::flow as kind;
use weir_spec::option::OptionError;
use weir_spec::schema::TagKeys;
use weir_spec::types::article;
use weir_spec::{Field, Stream};

/// What a column is called at the other end; nothing for what only one end has.
pub fn turned(name: &str) -> Option<String> {
    let pairs = [("src.", "dst."), ("dst.", "src."), ("sent_", "received_"), ("received_", "sent_")];
    if name.starts_with("dst.original.") || name == kind::SRC_CGROUP.name {
        return None;
    }
    let turned = pairs.iter().find_map(|(from, to)| Some(format!("{to}{}", name.strip_prefix(from)?)));
    turned.or_else(|| Some(name.to_string()))
}

/// Where `dst`'s own count of that column is, in a row that has both ends' counts.
pub fn at_dst(name: &str) -> Option<String> {
    (name.starts_with("sent_") || name.starts_with("received_")).then(|| format!("dst_{name}"))
}

/// What `dst`'s own count of that name is called in a row that only `dst` told: seen from there, what `src` sent
/// is what arrived.
pub fn told_by_dst(name: &str) -> Option<String> {
    let pairs = [("dst_received_", "sent_"), ("dst_sent_", "received_")];
    pairs.iter().find_map(|(from, to)| Some(format!("{to}{}", name.strip_prefix(from)?)))
}

/// The column of that name; without any value if there is none.
pub fn column(rows: &RecordBatch, name: Option<&str>, field: &Field) -> ArrayRef {
    let column = name.and_then(|name| rows.column_by_name(name));
    column.cloned().unwrap_or_else(|| absent(field.repr, rows.num_rows()))
}

/// The stream when either end may stand in the other's place. Columns that change places have to be of one type: the
/// kind's own are, those that `set` has added may not be.
pub fn mixed(input: &Stream) -> Result<Stream, OptionError> {
    for field in &input.schema.fields {
        let others = [turned(&field.name), at_dst(&field.name), told_by_dst(&field.name)];
        let other = others.into_iter().flatten().find_map(|other| input.schema.field(&other));
        if let Some(other) = other.filter(|other| other.ty != field.ty) {
            let (one, two) = (article(&field.ty), article(&other.ty));
            let why = format!("`{}` and `{}` change places here, and are {one} and {two}", field.name, other.name);
            return Err(OptionError::new("", why).help("make both of one type"));
        }
    }
    let of = |name: &str| input.keys.get(name).cloned().unwrap_or_default();
    let (src, dst) = (of(kind::SRC_TAGS.name), of(kind::DST_TAGS.name));
    let both = TagKeys { known: &src.known | &dst.known, open: src.open || dst.open };
    let mut stream = input.clone();
    // One that was dropped has none.
    stream.keys.values_mut().for_each(|keys| *keys = both.clone());
    Ok(stream)
}
