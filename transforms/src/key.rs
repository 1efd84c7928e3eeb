//! Group keys as bytes: compared and hashed whole, read back when a window closes.

use std::hash::BuildHasher;

use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, FixedSizeBinaryArray, Float64Array, Int64Array, StringArray,
    UInt8Array,
};
use std::sync::Arc;
use weir_core::columns::{addresses, ips};
use weir_core::eval::text;
use weir_spec::Type;

const ABSENT: u8 = 0;
const THERE: u8 = 1;

/// A fixed hash: workers own ranges of it, and windows are emitted in its order.
pub fn hash(bytes: &[u8]) -> u64 {
    foldhash::quality::FixedState::with_seed(0x7765_6972).hash_one(bytes)
}

/// Appends the value of one row.
pub fn append(array: &ArrayRef, ty: &Type, row: usize, into: &mut Vec<u8>) {
    if array.is_null(row) {
        return into.push(ABSENT);
    }
    into.push(THERE);
    let any = array.as_any();
    if let Some(a) = any.downcast_ref::<DictionaryArray<Int32Type>>() {
        let words = a.values().as_any().downcast_ref::<StringArray>();
        return string(words.map_or("", |w| w.value(a.keys().value(row) as usize)), into);
    }
    if let Some(a) = any.downcast_ref::<StringArray>() {
        string(a.value(row), into);
    } else if let Some(a) = any.downcast_ref::<Int64Array>() {
        into.extend_from_slice(&a.value(row).to_le_bytes());
    } else if let Some(a) = any.downcast_ref::<Float64Array>() {
        into.extend_from_slice(&a.value(row).to_le_bytes());
    } else if let Some(a) = any.downcast_ref::<UInt8Array>() {
        into.push(a.value(row));
    } else if let Some(a) = any.downcast_ref::<BooleanArray>() {
        into.push(u8::from(a.value(row)));
    } else if let Some(a) = any.downcast_ref::<FixedSizeBinaryArray>() {
        into.extend_from_slice(&addresses(a)[row]);
    } else {
        string(&text::text(array, ty, row).unwrap_or_default(), into);
    }
}

fn string(text: &str, into: &mut Vec<u8>) {
    into.extend_from_slice(&(text.len() as u32).to_le_bytes());
    into.extend_from_slice(text.as_bytes());
}

/// The key of the group that takes in what no longer fits.
pub fn overflow(types: &[Type]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for ty in types {
        if matches!(ty, Type::Str | Type::List(_)) {
            bytes.push(THERE);
            string("overflow", &mut bytes);
        } else {
            bytes.push(ABSENT);
        }
    }
    bytes
}

/// Splits off the first `n` bytes; keys are written by this module, so they are there.
fn cut<'a>(bytes: &mut &'a [u8], n: usize) -> &'a [u8] {
    let (head, rest) = bytes.split_at(n.min(bytes.len()));
    *bytes = rest;
    head
}

fn fixed<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let mut value = [0; N];
    let head = cut(bytes, N);
    value[..head.len()].copy_from_slice(head);
    value
}

/// Reads the next value of each key back as one column, moving all keys on.
pub fn column(keys: &mut [&[u8]], ty: &Type) -> ArrayRef {
    let there = |bytes: &mut &[u8]| cut(bytes, 1).first() == Some(&THERE);
    macro_rules! each {
        ($array:ty, $read:expr) => {
            Arc::new(keys.iter_mut().map(|k| there(k).then(|| $read(k))).collect::<$array>())
        };
    }
    match ty {
        Type::Bool => each!(BooleanArray, |k: &mut &[u8]| fixed::<1>(k)[0] == 1),
        Type::Enum(_) => each!(UInt8Array, |k: &mut &[u8]| fixed::<1>(k)[0]),
        Type::Ip => {
            let values: Vec<Option<[u8; 16]>> = keys.iter_mut().map(|k| there(k).then(|| fixed::<16>(k))).collect();
            let nulls = values.iter().map(Option::is_some).collect();
            Arc::new(ips(values.into_iter().map(Option::unwrap_or_default).collect(), Some(nulls)))
        }
        ty if ty.is_float() => each!(Float64Array, |k: &mut &[u8]| f64::from_le_bytes(fixed(k))),
        Type::Number { .. } | Type::Time => each!(Int64Array, |k: &mut &[u8]| i64::from_le_bytes(fixed(k))),
        _ => each!(StringArray, |k: &mut &[u8]| {
            let n = u32::from_le_bytes(fixed(k)) as usize;
            String::from_utf8_lossy(cut(k, n)).into_owned()
        }),
    }
}
