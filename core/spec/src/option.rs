//! Options of components: declared once, read by checks, help, docs and the component itself.

use std::sync::Arc;

use crate::expr::Expr;
use crate::schema::Stream;
use crate::units::{self, Quantity};
use crate::value::{Cidr, Part, Secret, Value, Values};

/// What an option takes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum OptionType {
    Bool,
    Int {
        min: i64,
        max: i64,
    },
    Float,
    /// Above zero.
    Duration,
    /// Above zero.
    Size,
    Rate,
    /// 0 % to 100 %.
    Percent,
    Str,
    /// A string that is a path; relative ones are resolved by who opens them.
    Path,
    /// One of these bare words.
    Word(&'static [&'static str]),
    Ip,
    Cidr,
    Time,
    Secret,
    List(&'static OptionType),
    /// A schema: a kind's name, or `{ column: type, … }`.
    Schema,
    /// The name of a column of what comes in (or of what `as:` declares).
    Column,
    /// An expression over the columns, evaluated for each row.
    Expr,
    /// One of these, called with options of its own.
    Part(&'static [PartSpec]),
}

/// A part of a component that a pipeline names, as `table("teams.csv")`.
#[derive(PartialEq, Debug)]
pub struct PartSpec {
    pub name: &'static str,
    /// One line, lower case, no full stop.
    pub summary: &'static str,
    pub options: &'static [OptionSpec],
    pub example: &'static str,
}

/// One option of a component.
#[derive(PartialEq, Debug)]
pub struct OptionSpec {
    pub name: &'static str,
    pub doc: &'static str,
    pub ty: OptionType,
    /// May be given without its name, in the order of declaration.
    pub positional: bool,
    pub required: bool,
    /// Whether `none` is a value (a limit or a timeout switched off).
    pub none: bool,
    /// As the language would write it; empty if there is none.
    pub default: &'static str,
}

/// Why a component refuses its options; names the one to change, or none where its input is to be.
#[derive(Clone, PartialEq, Debug)]
pub struct OptionError {
    pub option: &'static str,
    pub message: String,
    pub help: Option<String>,
}

impl OptionError {
    pub fn new(option: &'static str, message: impl Into<String>) -> OptionError {
        OptionError { option, message: message.into(), help: None }
    }

    pub fn help(mut self, help: impl Into<String>) -> OptionError {
        self.help = Some(help.into());
        self
    }
}

impl OptionSpec {
    /// The default as a value. Declarations are tested, so an unreadable one is a bug there.
    pub fn default_value(&self) -> Value {
        default_of(self.ty, self.default)
    }
}

/// Fills every option that was not given with its default.
pub fn with_defaults(options: &[OptionSpec], mut values: Values) -> Values {
    for option in options {
        if !values.contains(option.name) {
            values.set(option.name, option.default_value());
        }
    }
    values
}

fn default_of(ty: OptionType, text: &str) -> Value {
    if text.is_empty() || text == "none" {
        return Value::None;
    }
    match ty {
        OptionType::Word(_) => return Value::Word(text.into()),
        OptionType::Bool => return Value::Bool(text == "true"),
        OptionType::Str | OptionType::Path => return Value::Str(text.trim_matches('"').into()),
        OptionType::List(of) => {
            let items = text.trim_matches(['[', ']']).split(',').map(str::trim);
            return Value::List(items.filter(|t| !t.is_empty()).map(|t| default_of(*of, t)).collect());
        }
        _ => {}
    }
    match units::parse_quantity(text) {
        Ok(quantity) => quantity.into(),
        Err(_) => Value::None,
    }
}

impl From<Quantity> for Value {
    fn from(quantity: Quantity) -> Value {
        match quantity {
            Quantity::Int(n) => Value::Int(n),
            Quantity::Float(x) => Value::Float(x),
            Quantity::Duration(n) => Value::Duration(n),
            Quantity::Size(n) => Value::Size(n),
            Quantity::ByteRate(x) => Value::ByteRate(x),
            Quantity::Rate(x) => Value::Rate(x),
            Quantity::Percent(x) => Value::Percent(x),
        }
    }
}

/// A Rust type that an option can be read into.
pub trait FromValue: Sized {
    /// `None` where the value is not of this type, which checking has ruled out.
    fn from_value(value: &Value) -> Option<Self>;
}

/// A duration option, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Dur(pub i64);

/// A size option, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Bytes(pub i64);

macro_rules! from_value {
    ($($ty:ty: $pattern:pat => $value:expr;)*) => {
        $( impl FromValue for $ty {
            fn from_value(value: &Value) -> Option<Self> {
                match value { $pattern => $value, _ => None }
            }
        } )*
    };
}
from_value! {
    bool: Value::Bool(b) => Some(*b);
    i64: Value::Int(n) => Some(*n);
    u64: Value::Int(n) => u64::try_from(*n).ok();
    usize: Value::Int(n) => usize::try_from(*n).ok();
    Dur: Value::Duration(n) => Some(Dur(*n));
    Bytes: Value::Size(n) => Some(Bytes(*n));
    [u8; 16]: Value::Ip(ip) => Some(*ip);
    Cidr: Value::Cidr(cidr) => Some(*cidr);
    Secret: Value::Secret(secret) => Some(secret.clone());
    Arc<Expr>: Value::Expr(expr) => Some(expr.clone());
    Arc<Stream>: Value::Stream(stream) => Some(stream.clone());
    Arc<Part>: Value::Part(part) => Some(part.clone());
}

impl FromValue for f64 {
    fn from_value(value: &Value) -> Option<Self> {
        value.as_f64()
    }
}

impl FromValue for String {
    fn from_value(value: &Value) -> Option<Self> {
        value.as_str().map(str::to_string)
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::None => Some(None),
            some => T::from_value(some).map(Some),
        }
    }
}

impl<T: FromValue> FromValue for Vec<T> {
    fn from_value(value: &Value) -> Option<Self> {
        value.items().iter().map(T::from_value).collect()
    }
}

/// Reads one option; checking has made sure that it is there and of its type.
pub fn read<T: FromValue>(values: &Values, name: &str) -> Result<T, String> {
    let value = values.get(name);
    T::from_value(value).ok_or_else(|| format!("option `{name}` cannot be `{value}`"))
}

/// Declares a component's options: the struct, their specs, and how to read them.
///
/// ```
/// use weir_spec::option::{Dur, OptionType};
/// weir_spec::options! {
///     pub struct BiflowOptions {
///         /// Ends a conversation after so long without a packet.
///         idle: Option<Dur> = (OptionType::Duration, positional, none, "60s"),
///     }
/// }
/// assert_eq!(BiflowOptions::SPECS[0].name, "idle");
/// ```
#[macro_export]
macro_rules! options {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[doc = $doc:literal])+ $field:ident: $ty:ty = ($option:expr $(, $flag:tt)*), )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug)]
        pub struct $name { $( $(#[doc = $doc])+ pub $field: $ty ),* }

        impl $name {
            pub const SPECS: &'static [$crate::option::OptionSpec] = &[
                $( $crate::options!(@spec stringify!($field), concat!($($doc),+), $option $(, $flag)*) ),*
            ];

            /// Reads checked options; the error is a bug in the caller, in words.
            pub fn read(values: &$crate::Values) -> Result<$name, String> {
                Ok($name { $( $field: $crate::option::read(
                    values,
                    $crate::option::plain_name(stringify!($field)),
                )? ),* })
            }
        }
    };
    (@spec $name:expr, $doc:expr, $option:expr $(, $flag:tt)*) => {{
        #[allow(unused_mut)]
        let mut spec = $crate::option::OptionSpec {
            name: $crate::option::plain_name($name),
            doc: $doc,
            ty: $option,
            positional: false,
            required: false,
            none: false,
            default: "",
        };
        $( $crate::options!(@flag spec $flag); )*
        spec
    }};
    (@flag $spec:ident positional) => { $spec.positional = true };
    (@flag $spec:ident required) => { $spec.required = true };
    (@flag $spec:ident none) => { $spec.none = true };
    (@flag $spec:ident $default:literal) => { $spec.default = $default };
}

/// The option's name for a Rust field: `r#as` is `as`.
pub const fn plain_name(field: &'static str) -> &'static str {
    let bytes = field.as_bytes();
    if bytes.len() > 2 && bytes[0] == b'r' && bytes[1] == b'#' {
        return field.split_at(2).1;
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    options! {
        pub struct Sample {
            /// A limit.
            rows_max: usize = (OptionType::Int { min: 1, max: 10 }, positional, "3"),
            /// A timeout.
            idle: Option<Dur> = (OptionType::Duration, none, "1m30s"),
            /// A schema.
            r#as: Option<String> = (OptionType::Schema),
        }
    }

    #[test]
    fn a_declaration_gives_specs_defaults_and_a_reader() {
        let names: Vec<_> = Sample::SPECS.iter().map(|o| o.name).collect();
        assert_eq!(names, ["rows_max", "idle", "as"]);
        let read = Sample::read(&with_defaults(Sample::SPECS, Values::default())).unwrap();
        assert_eq!((read.rows_max, read.idle, read.r#as), (3, Some(Dur(90_000_000_000)), None));
    }
}
