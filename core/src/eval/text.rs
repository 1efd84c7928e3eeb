//! Values as strings: what `format`, casts and group keys show.

use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, DictionaryArray, Float64Array, Int64Array, ListArray, StringArray,
    UInt8Array,
};
use weir_spec::types::{Type, Unit};
use weir_spec::{units, value};

use super::{cast, ips};
use crate::columns::addresses;
use crate::tags;

/// A column of any type as strings, absent staying absent; several values joined by commas.
pub fn strings(array: &ArrayRef, ty: &Type) -> StringArray {
    (0..array.len()).map(|i| text(array, ty, i)).collect()
}

/// One value as a string.
pub fn text(array: &ArrayRef, ty: &Type, i: usize) -> Option<String> {
    if array.is_null(i) {
        return None;
    }
    if let Some(words) = array.as_any().downcast_ref::<DictionaryArray<Int32Type>>() {
        return text(words.values(), ty, words.keys().value(i) as usize);
    }
    if let Some(sets) = array.as_any().downcast_ref::<BinaryArray>() {
        return Some(tags::each(sets.value(i)).collect::<Vec<_>>().join(","));
    }
    if let Some(lists) = array.as_any().downcast_ref::<ListArray>() {
        let values = lists.value(i);
        let each: Vec<_> = (0..values.len()).filter_map(|j| text(&values, ty.element(), j)).collect();
        return Some(each.join(","));
    }
    Some(match ty {
        Type::Enum(e) => (e.text)(cast::<UInt8Array>(array).value(i)).into_owned(),
        Type::Ip => value::ip_of(&addresses(ips(array))[i]).to_string(),
        Type::Bool => cast::<BooleanArray>(array).value(i).to_string(),
        Type::Time => units::time(cast::<Int64Array>(array).value(i)),
        Type::Number { unit: Unit::Nanos, .. } => units::duration(cast::<Int64Array>(array).value(i)),
        Type::Number { float: true, .. } => cast::<Float64Array>(array).value(i).to_string(),
        Type::Number { .. } => int(array, i).to_string(),
        Type::Sketch => "(sketch)".into(),
        _ => cast::<StringArray>(array).value(i).to_string(),
    })
}

/// A whole number of any width.
pub fn int(array: &ArrayRef, i: usize) -> i64 {
    use arrow_array::{UInt16Array, UInt32Array};
    let any = array.as_any();
    if let Some(a) = any.downcast_ref::<Int64Array>() {
        return a.value(i);
    }
    if let Some(a) = any.downcast_ref::<UInt16Array>() {
        return a.value(i).into();
    }
    if let Some(a) = any.downcast_ref::<UInt32Array>() {
        return a.value(i).into();
    }
    any.downcast_ref::<UInt8Array>().map_or(0, |a| a.value(i).into())
}

/// The word of a row, absent for none.
pub fn word(words: &DictionaryArray<Int32Type>, row: usize) -> Option<&str> {
    let at = (!words.is_null(row)).then(|| words.keys().value(row) as usize)?;
    Some(words.values().as_any().downcast_ref::<StringArray>()?.value(at))
}
