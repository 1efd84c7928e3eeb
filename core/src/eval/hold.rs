//! Computed columns as the columns of a kind are held, so that who reads that kind finds them.

use std::sync::Arc;

use arrow_array::types::{ArrowPrimitiveType, UInt8Type, UInt16Type, UInt32Type};
use arrow_array::{ArrayRef, Int64Array};
use weir_spec::Field;
use weir_spec::schema::Repr;
use weir_spec::types::Type;

use super::text::strings;
use crate::columns::{WordBuilder, data_type};

/// A computed column of a field's type as the field holds it. What cannot be held is absent.
pub fn hold(array: &ArrayRef, field: &Field) -> ArrayRef {
    if array.data_type() == &data_type(field.repr) {
        return array.clone();
    }
    match field.repr {
        Repr::Word => worded(array, &field.ty),
        Repr::U8 => narrow::<UInt8Type>(array),
        Repr::U16 => narrow::<UInt16Type>(array),
        Repr::U32 => narrow::<UInt32Type>(array),
        // Every other type is held in one way.
        _ => array.clone(),
    }
}

fn worded(array: &ArrayRef, ty: &Type) -> ArrayRef {
    let mut words = WordBuilder::default();
    strings(array, ty).iter().for_each(|word| words.push(word));
    words.finish()
}

fn narrow<T: ArrowPrimitiveType<Native: TryFrom<i64>>>(array: &ArrayRef) -> ArrayRef {
    match array.as_any().downcast_ref::<Int64Array>() {
        Some(wide) => Arc::new(wide.unary_opt::<_, T>(|number| number.try_into().ok())) as ArrayRef,
        None => array.clone(),
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{StringArray, UInt16Array};
    use weir_spec::kinds::metric;

    use super::*;

    #[test]
    fn what_a_column_cannot_hold_is_absent() {
        let field = |name: &str, ty: Type, repr: Repr| Field { name: name.into(), ty, repr };
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(443), Some(-1), None, Some(65_536)]));
        let ports = hold(&numbers, &field("port", Type::INT, Repr::U16));
        let ports: &UInt16Array = super::super::cast(&ports);
        assert_eq!(ports.iter().collect::<Vec<_>>(), [Some(443), None, None, None]);

        let words: ArrayRef = Arc::new(StringArray::from(vec![Some("gauge"), Some("gouge"), None]));
        let schema = metric::METRIC.schema();
        let hosts = hold(&words, schema.field("host").unwrap());
        assert_eq!(hosts.data_type(), &data_type(Repr::Word));
        assert_eq!(strings(&hosts, &Type::Str).iter().collect::<Vec<_>>(), [Some("gauge"), Some("gouge"), None]);
    }
}
