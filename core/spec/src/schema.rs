//! Rows and streams: which columns there are, and what is known about them.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::kind::{Column, Kind};
use crate::plan::Windowing;
use crate::types::{Type, Unit};

/// How a column is held in memory. One logical type may have several.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repr {
    Bool,
    U8,
    U16,
    U32,
    I64,
    F64,
    /// 16 bytes, IPv4 mapped.
    Ip,
    /// Strings that seldom repeat.
    Text,
    /// Strings that repeat, by dictionary.
    Word,
    /// Several strings a row.
    TextList,
    /// Several whole numbers a row.
    IntList,
    /// Several fractions a row.
    FloatList,
    /// Several addresses a row.
    IpList,
    /// Sets of `key:value` strings, each distinct set once, by dictionary.
    Tags,
    /// A quantile sketch.
    Sketch,
}

impl Repr {
    /// How a computed column of type `ty` is held.
    pub fn of(ty: &Type) -> Repr {
        match ty {
            Type::Bool => Repr::Bool,
            Type::Number { float: true, unit } if *unit != Unit::Nanos => Repr::F64,
            Type::Number { .. } | Type::Time => Repr::I64,
            Type::Enum(_) => Repr::U8,
            Type::Ip => Repr::Ip,
            Type::List(of) => match of {
                Type::Ip => Repr::IpList,
                Type::Number { float: true, .. } => Repr::FloatList,
                Type::Number { .. } | Type::Time => Repr::IntList,
                _ => Repr::TextList,
            },
            Type::Tags => Repr::Tags,
            Type::Sketch => Repr::Sketch,
            Type::Str | Type::Cidr | Type::Secret | Type::Unknown => Repr::Text,
        }
    }
}

/// One column of a row.
#[derive(Clone, PartialEq, Debug)]
pub struct Field {
    pub name: String,
    pub ty: Type,
    pub repr: Repr,
}

impl Field {
    pub fn new(name: impl Into<String>, ty: Type) -> Field {
        let repr = Repr::of(&ty);
        Field { name: name.into(), ty, repr }
    }
}

/// The columns of a row, in order. Names are unique.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Schema {
    pub fields: Vec<Field>,
}

impl Schema {
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|f| f.name == name)
    }

    pub fn index(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|f| f.name == name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|f| f.name.as_str())
    }

    /// Adds a column, or replaces the one of that name in its place.
    pub fn put(&mut self, field: Field) {
        match self.index(&field.name) {
            Some(at) => self.fields[at] = field,
            None => self.fields.push(field),
        }
    }
}

/// What a stream's rows are: a declared kind, or whatever `select` or `window` made.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum RowKind {
    Kind(&'static Kind),
    Record,
}

impl RowKind {
    pub fn name(&self) -> &'static str {
        match self {
            RowKind::Kind(kind) => kind.name,
            RowKind::Record => "record",
        }
    }

    /// The kind's own column of that name.
    pub fn declared(&self, name: &str) -> Option<&'static Column> {
        match self {
            RowKind::Kind(kind) => kind.columns.iter().find(|column| column.name == name),
            RowKind::Record => None,
        }
    }

    /// A computed column. One that the kind declares is held as the kind has it, as who reads that kind expects.
    pub fn field(&self, name: &str, computed: &Type) -> Field {
        let field = Field::new(name, computed.clone());
        match self.declared(name).filter(|column| column.ty == *computed) {
            Some(column) => Field { repr: column.repr, ..field },
            None => field,
        }
    }
}

/// What a path can promise about a row. Ordered from weakest to strongest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Delivery {
    BestEffort,
    AtLeastOnce,
    ExactlyOnce,
}

impl Delivery {
    pub const WORDS: &'static [&'static str] = &["best_effort", "at_least_once", "exactly_once"];

    pub fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }

    pub fn parse(word: &str) -> Option<Delivery> {
        [Delivery::BestEffort, Delivery::AtLeastOnce, Delivery::ExactlyOnce].into_iter().find(|d| d.word() == word)
    }
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.word().replace('_', " "))
    }
}

/// The tag keys known in one tag column.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TagKeys {
    pub known: BTreeSet<String>,
    /// Whether rows may carry keys that nobody declared.
    pub open: bool,
}

/// What is known of the rows that a window gives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Windowed {
    pub windowing: Windowing,
    /// Columns that tell the rows of one window apart.
    pub by: Vec<String>,
    /// Why they no longer do.
    pub spoiled: Option<String>,
}

/// The type of an edge.
#[derive(Clone, PartialEq, Debug)]
pub struct Stream {
    pub row: RowKind,
    pub schema: Arc<Schema>,
    /// Tag keys by tag column (`src.tags`, `dst.tags`, `tags`).
    pub keys: std::collections::BTreeMap<String, TagKeys>,
    pub delivery: Delivery,
    /// Whether the input ends by itself (a file) or runs until stopped.
    pub bounded: bool,
    /// The window that rows are of.
    pub windowed: Option<Arc<Windowed>>,
    /// The schema could not be known because of an error that is already reported.
    pub poisoned: bool,
}

impl Stream {
    pub fn of_kind(kind: &'static Kind) -> Stream {
        let open = |c: &&crate::kind::Column| c.ty == Type::Tags;
        Stream {
            row: RowKind::Kind(kind),
            schema: Arc::new(kind.schema()),
            keys: kind
                .columns
                .iter()
                .filter(open)
                .map(|c| (c.name.to_string(), TagKeys { known: BTreeSet::new(), open: true }))
                .collect(),
            delivery: Delivery::BestEffort,
            bounded: true,
            windowed: None,
            poisoned: false,
        }
    }

    /// Where rows carry no tags yet: what a later stage adds is all there is.
    pub fn without_tags(mut self) -> Stream {
        self.keys.values_mut().for_each(|keys| keys.open = false);
        self
    }

    pub fn record(schema: Schema) -> Stream {
        Stream {
            row: RowKind::Record,
            schema: Arc::new(schema),
            keys: Default::default(),
            delivery: Delivery::BestEffort,
            bounded: true,
            windowed: None,
            poisoned: false,
        }
    }

    /// Where a row has its event time: the kind's column, or the first time there is.
    pub fn time_column(&self) -> Option<&str> {
        match self.row {
            RowKind::Kind(kind) => Some(kind.time),
            RowKind::Record => self.schema.fields.iter().find(|f| f.ty == Type::Time).map(|f| f.name.as_str()),
        }
    }

    /// A stream about which nothing is known because of an error reported elsewhere.
    pub fn poisoned() -> Stream {
        Stream { poisoned: true, ..Stream::record(Schema::default()) }
    }

    /// Rows of a window are no longer told apart by its keys.
    pub fn spoil_window(&mut self, why: String) {
        if let Some(windowed) = &mut self.windowed {
            Arc::make_mut(windowed).spoiled.get_or_insert(why);
        }
    }

    /// A column has other values now.
    pub fn overwrite(&mut self, column: &str) {
        if self.windowed.as_ref().is_some_and(|windowed| windowed.by.iter().any(|key| key == column)) {
            self.spoil_window(format!("the window's key `{column}` has other values here"));
        }
    }

    /// The same stream with other columns, as `set`, `select` and `drop` make.
    pub fn with_schema(&self, schema: Schema) -> Stream {
        let mut stream = self.clone();
        stream.keys.retain(|column, _| schema.field(column).is_some_and(|field| field.ty == Type::Tags));
        stream.schema = Arc::new(schema);
        stream
    }
}

/// `stream<flow, at least once>`, as messages and `plan` print it.
impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stream<{}", self.row.name())?;
        for (column, keys) in &self.keys {
            if !keys.known.is_empty() {
                let list: Vec<_> = keys.known.iter().map(String::as_str).collect();
                write!(f, ", {}", column.trim_end_matches("tags"))?;
                write!(f, "{{{}}}", list.join(" "))?;
            }
        }
        write!(f, ", {}>", self.delivery)
    }
}
