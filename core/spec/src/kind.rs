//! Stream kinds: named schemas, each column declared once with its meaning.
//!
//! A declaration gives the language its types, Rust its typed [`Key`]s, and the reference its page.

use std::marker::PhantomData;

use crate::schema::{Field, Repr, Schema};
use crate::types::Type;

/// One declared column.
#[derive(Debug)]
pub struct Column {
    pub name: &'static str,
    pub ty: Type,
    pub repr: Repr,
    pub meaning: &'static str,
    /// What the field's standards call it (IPFIX element, ECS field, DogStatsD term); may be empty.
    pub standard: &'static str,
}

/// A named schema.
#[derive(Debug)]
pub struct Kind {
    pub name: &'static str,
    pub meaning: &'static str,
    /// The column that is a row's event time.
    pub time: &'static str,
    pub columns: &'static [Column],
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Kind {
    pub fn schema(&self) -> Schema {
        let field = |c: &Column| Field { name: c.name.into(), ty: c.ty.clone(), repr: c.repr };
        Schema { fields: self.columns.iter().map(field).collect() }
    }
}

/// A column's name together with how it is held: `view.get(flow::SRC_PORT)` gives `&[u16]`.
#[derive(Debug)]
pub struct Key<R> {
    pub name: &'static str,
    repr: PhantomData<R>,
}

impl<R> Clone for Key<R> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<R> Copy for Key<R> {}

impl<R> Key<R> {
    pub const fn new(name: &'static str) -> Key<R> {
        Key { name, repr: PhantomData }
    }
}

/// Marker types, one a [`Repr`], for [`Key`].
pub mod repr {
    macro_rules! markers {
        ($($name:ident)*) => { $( #[derive(Debug)] pub enum $name {} )* };
    }
    markers! { Bool U8 U16 U32 I64 F64 Ip Text Word TextList IntList FloatList IpList Tags Sketch }
}

/// Declares a kind: `CONST: "name", Repr, Type, "meaning", "standard";` a line.
#[macro_export]
macro_rules! kind {
    (
        $(#[doc = $meaning:literal])+
        pub static $kind:ident = $name:literal, time $time:literal;
        $( $key:ident: $column:literal, $repr:ident, $ty:expr, $doc:literal, $standard:literal; )+
    ) => {
        $( #[doc = $meaning] )+
        pub static $kind: $crate::kind::Kind = $crate::kind::Kind {
            name: $name,
            meaning: concat!($($meaning),+),
            time: $time,
            columns: &[ $( $crate::kind::Column {
                name: $column,
                ty: $ty,
                repr: $crate::schema::Repr::$repr,
                meaning: $doc,
                standard: $standard,
            } ),+ ],
        };
        $(
            #[doc = $doc]
            pub const $key: $crate::kind::Key<$crate::kind::repr::$repr> =
                $crate::kind::Key::new($column);
        )+
    };
}
