//! The types of the language: what an expression, a column or an option is.

use std::borrow::Cow;
use std::fmt;

/// The unit a number counts in. Two numbers meet only in the same unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Unit {
    /// A plain number.
    One,
    /// Bytes: the type `size`.
    Bytes,
    /// Nanoseconds, as a whole number: the type `duration`.
    Nanos,
    /// Bytes a second: the type `rate`.
    BytesPerSecond,
    /// Things a second: the type `rate` of plain numbers.
    PerSecond,
}

/// A closed or open set of byte-sized labels: `protocol`, `state`, TCP flags.
///
/// Stored as one byte a row, compared with strings that are checked.
pub struct Enumeration {
    pub name: &'static str,
    /// The labels a message may list.
    pub labels: &'static [&'static str],
    pub text: fn(u8) -> Cow<'static, str>,
    pub parse: fn(&str) -> Option<u8>,
}

impl PartialEq for Enumeration {
    fn eq(&self, other: &Self) -> bool {
        // What a metric and what a series is are both called `kind`.
        self.name == other.name && self.labels == other.labels
    }
}
impl Eq for Enumeration {}
impl fmt::Debug for Enumeration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The type of a column or an expression.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Type {
    Bool,
    /// A whole number (`float: false`) or a fraction. Durations are always whole.
    Number {
        float: bool,
        unit: Unit,
    },
    Str,
    Enum(&'static Enumeration),
    Ip,
    Cidr,
    /// Nanoseconds since the Unix epoch, UTC.
    Time,
    Secret,
    /// Several values of one of the scalar types.
    List(&'static Type),
    /// A set of `key:value` strings.
    Tags,
    /// A mergeable quantile sketch.
    Sketch,
    /// What follows from an error elsewhere: agrees with everything, silently.
    Unknown,
}

impl Type {
    pub const INT: Type = Type::Number { float: false, unit: Unit::One };
    pub const FLOAT: Type = Type::Number { float: true, unit: Unit::One };
    pub const SIZE: Type = Type::Number { float: false, unit: Unit::Bytes };
    pub const DURATION: Type = Type::Number { float: false, unit: Unit::Nanos };
    pub const BYTE_RATE: Type = Type::Number { float: true, unit: Unit::BytesPerSecond };
    pub const RATE: Type = Type::Number { float: true, unit: Unit::PerSecond };

    /// The type of several values of `of`. Lists do not nest, and enumerations become strings.
    pub fn list(of: &Type) -> Type {
        let of = if of.is_text() { &Type::Str } else { of };
        Type::List(ELEMENTS.iter().find(|e| *e == of).unwrap_or(&Type::Unknown))
    }

    pub fn is_unknown(&self) -> bool {
        matches!(self, Type::Unknown)
    }

    pub fn is_number(&self) -> bool {
        matches!(self, Type::Number { .. } | Type::Unknown)
    }

    pub fn is_float(&self) -> bool {
        matches!(self, Type::Number { float: true, .. })
    }

    pub fn unit(&self) -> Option<Unit> {
        match self {
            Type::Number { unit, .. } => Some(*unit),
            _ => None,
        }
    }

    /// The type of one value of a column of several values; the type itself otherwise.
    pub fn element(&self) -> &Type {
        match self {
            Type::List(of) => of,
            other => other,
        }
    }

    /// Whether an enumerated column and a string share this comparison.
    pub fn is_text(&self) -> bool {
        matches!(self, Type::Str | Type::Enum(_) | Type::Unknown)
    }

    /// Whether a column of this type can hold every value of another: one of strings those of an enumeration, one of
    /// fractions whole numbers.
    pub fn takes(&self, other: &Type) -> bool {
        let is_known = !self.is_unknown() && !other.is_unknown();
        let is_word = matches!((self, other), (Type::Str, Type::Enum(_)));
        // What a number is of is not for a plain fraction to say; durations are held as nanoseconds.
        let is_number = *self == Type::FLOAT && other.unit().is_some_and(|unit| unit != Unit::Nanos);
        is_known && (self == other || is_word || is_number || *self == other.to_float())
    }

    /// The same number as a fraction; durations stay whole.
    pub fn to_float(&self) -> Type {
        match self {
            Type::Number { unit: Unit::Nanos, .. } => Type::DURATION,
            Type::Number { unit, .. } => Type::Number { float: true, unit: *unit },
            other => other.clone(),
        }
    }
}

/// Everything a list can hold.
static ELEMENTS: &[Type] = &[
    Type::Str,
    Type::INT,
    Type::FLOAT,
    Type::Ip,
    Type::SIZE,
    Type::DURATION,
    Type::BYTE_RATE,
    Type::RATE,
    Type::Number { float: true, unit: Unit::Bytes },
    Type::Bool,
    Type::Cidr,
    Type::Time,
];

/// The words that messages and params use.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self {
            Type::Bool => "bool",
            Type::Number { float: false, unit: Unit::One } => "int",
            Type::Number { float: true, unit: Unit::One } => "float",
            Type::Number { unit: Unit::Bytes, .. } => "size",
            Type::Number { unit: Unit::Nanos, .. } => "duration",
            Type::Number { unit: Unit::BytesPerSecond | Unit::PerSecond, .. } => "rate",
            Type::Str | Type::Enum(_) => "string",
            Type::Ip => "ip",
            Type::Cidr => "cidr",
            Type::Time => "time",
            Type::Secret => "secret",
            Type::List(of) => return write!(f, "list<{of}>"),
            Type::Tags => "tags",
            Type::Sketch => "sketch",
            Type::Unknown => "unknown",
        };
        f.write_str(word)
    }
}

/// A type in a sentence: an `int`, a `string`.
pub fn article(ty: &Type) -> String {
    with_article(&ty.to_string())
}

/// A word in a sentence: an `event`, a `flow`.
pub fn with_article(word: &str) -> String {
    let an = word.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} `{word}`", if an { "an" } else { "a" })
}
