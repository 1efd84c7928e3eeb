//! Functions of lists and tag sets. Tag sets are looked into once each, not once a row.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, BinaryArray, BooleanArray, DictionaryArray, ListArray};
use weir_spec::types::Type;

use super::{booleans, cast, text};
use crate::tags::{self, TagSets};

/// Whether a list has a value at all, or this one.
pub(super) fn any(lists: &ArrayRef, value: Option<&ArrayRef>, ty: &Type) -> ArrayRef {
    let array = cast::<ListArray>(lists);
    let valid = |i: usize| array.is_valid(i) && value.is_none_or(|v| v.is_valid(i));
    let has = |i: usize| match value {
        None => array.value_length(i) > 0,
        Some(value) => {
            let items = array.value(i);
            let wanted = text::text(value, ty.element(), i);
            (0..items.len()).any(|at| text::text(&items, ty.element(), at) == wanted)
        }
    };
    booleans(array.len(), valid, has)
}

/// The entries of each distinct set of a tag column.
fn sets(tags: &DictionaryArray<Int32Type>) -> Vec<Vec<String>> {
    let sets = cast::<BinaryArray>(tags.values());
    (0..sets.len()).map(|at| tags::each(sets.value(at)).map(str::to_string).collect()).collect()
}

/// The value of a tag with this key.
pub(super) fn value_of<'a>(entry: &'a str, key: &str) -> Option<&'a str> {
    entry.strip_prefix(key)?.strip_prefix(':')
}

pub(super) fn has(tags: &ArrayRef, key: &str, value: Option<&ArrayRef>) -> ArrayRef {
    let tags = cast::<DictionaryArray<Int32Type>>(tags);
    let sets = sets(tags);
    let values = value.map(|v| text::strings(v, &Type::Str));
    let has = |i: usize| {
        let found = |set: &Vec<String>| match &values {
            None => set.iter().any(|entry| value_of(entry, key).is_some()),
            Some(values) => set.iter().any(|entry| value_of(entry, key) == Some(values.value(i))),
        };
        tags.keys().is_valid(i) && found(&sets[tags.keys().value(i) as usize])
    };
    let valid = |i: usize| values.as_ref().is_none_or(|v| v.is_valid(i));
    // Without tags there is no such tag: false, not absent.
    let answers: BooleanArray = (0..tags.len()).map(|i| valid(i).then(|| has(i))).collect();
    Arc::new(answers)
}

pub(super) fn without(tags: &ArrayRef, key: &str) -> ArrayRef {
    let array = cast::<DictionaryArray<Int32Type>>(tags);
    let kept = sets(array).into_iter().map(|set| left(&set, key).collect()).collect::<Vec<Vec<String>>>();
    build((0..array.len()).map(|i| array.keys().is_valid(i).then(|| kept[array.keys().value(i) as usize].clone())))
}

pub(super) fn with(tags: &ArrayRef, key: &str, value: &ArrayRef) -> ArrayRef {
    let array = cast::<DictionaryArray<Int32Type>>(tags);
    let sets = sets(array);
    let values = text::strings(value, &Type::Str);
    let one = |i: usize| {
        let set: &[String] = match array.keys().is_valid(i) {
            true => &sets[array.keys().value(i) as usize],
            false => &[],
        };
        let mut set: Vec<String> = left(set, key).collect();
        set.extend(values.is_valid(i).then(|| format!("{key}:{}", values.value(i))));
        set.sort_unstable();
        Some(set)
    };
    build((0..array.len()).map(one))
}

fn left(set: &[String], key: &str) -> impl Iterator<Item = String> {
    set.iter().filter(move |entry| value_of(entry, key).is_none()).cloned()
}

/// A tag column, each distinct set once.
fn build(rows: impl Iterator<Item = Option<Vec<String>>>) -> ArrayRef {
    let mut known: HashMap<Vec<String>, i32> = HashMap::new();
    let mut sets = TagSets::default();
    for row in rows {
        let Some(set) = row else {
            sets.row_absent();
            continue;
        };
        let set = *known.entry(set).or_insert_with_key(|set| {
            set.iter().for_each(|entry| sets.tag(entry.as_bytes()));
            sets.end_set()
        });
        sets.row(set);
    }
    sets.finish()
}
