//! `resolve`: what is known about the ends of conversations, as tags.
//!
//! Reading order: [`end`] (what of an end is looked up), [`tags`] (what comes together), then one file for each
//! that can be asked: [`procfs`], [`table`] with its [`ranges`].

mod end;
pub mod procfs;
pub mod ranges;
mod table;
mod tags;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use weir_core::batch::Batch;
use weir_core::columns::{arrow_schema, record};
use weir_core::ledger::Counts;
use weir_core::tags::TagSets;
use weir_core::{Build, BuildCx, Entry, Fault, Out, Transform};
use weir_spec::component::{Columns, Inputs, Need, OutputSpec};
use weir_spec::kinds::flow as kind;
use weir_spec::memory::Memory;
use weir_spec::option::{OptionError, OptionType, PartSpec};
use weir_spec::schema::TagKeys;
use weir_spec::value::Part;
use weir_spec::{ComponentSpec, Schema, Shape, Value, Values};

use crate::ends::column;
use end::{End, View};
use tags::Tags;

/// Everybody who can be asked: how a pipeline says so, and what comes of it.
const PARTS: &[PartSpec] = &[procfs::SPEC, table::SPEC];
const KINDS: &[Kind] = &[procfs::KIND, table::KIND];

/// What is to be known of a resolver before it is asked, from its options.
pub struct Kind {
    name: &'static str,
    /// The keys that it may give; nothing if nobody knows.
    keys: fn(&Values) -> Option<Vec<String>>,
    /// Memory that it holds.
    bytes: fn(&Values) -> u64,
    /// The file that it reads.
    file: fn(&Values) -> Option<String>,
    build: fn(&Values, &BuildCx) -> Built,
}

type Built = Result<Box<dyn Resolver>, Fault>;

/// Of each part that `from` names.
fn asked(values: &Values) -> impl Iterator<Item = (&Kind, &Values)> {
    let parts = values.get("from").items().iter().filter_map(|part| match part {
        Value::Part(part) => Some(part),
        _ => None,
    });
    parts.filter_map(|part| Some((KINDS.iter().find(|kind| kind.name == part.name)?, &part.values)))
}

weir_spec::options! {
    pub struct ResolveOptions {
        /// Whose tags: `src` or `dst`.
        end: String = (OptionType::Word(ENDS), positional, required),
        /// The other one as well.
        other: Option<String> = (OptionType::Word(ENDS), positional, none),
        /// Who is asked, one after the other: what one has said, the next one does not change.
        from: Vec<Arc<Part>> = (OptionType::List(&OptionType::Part(PARTS)), required),
    }
}

const ENDS: &[&str] = &["src", "dst"];

pub const ENTRY: Entry = Entry { spec: &SPEC, build: Build::Transform(build) };

pub static SPEC: ComponentSpec = ComponentSpec {
    name: "resolve",
    summary: "adds what is known about the ends of conversations, as tags",
    shape: Shape::Inline,
    options: ResolveOptions::SPECS,
    inputs: Inputs::One(&["flow"]),
    outputs: &[OutputSpec { name: "", doc: "the same rows with `src.tags` and `dst.tags`" }],
    typing: |values, inputs| {
        let options = ResolveOptions::read(values).map_err(|why| OptionError::new("from", why))?;
        if Some(&options.end) == options.other.as_ref() {
            let why = format!("`{}` is said twice", options.end);
            return Err(OptionError::new("other", why).help("`resolve(src, dst, …)` is of both ends"));
        }
        if options.from.is_empty() {
            let examples: Vec<String> = PARTS.iter().map(|part| format!("`{}`", part.example)).collect();
            let help = format!("it takes {}", examples.join(" and "));
            return Err(OptionError::new("from", "nobody is asked").help(help));
        }
        let mut streams = inputs.to_vec();
        for stream in &mut streams {
            for column in tag_columns(&options) {
                let keys = stream.keys.entry(column.to_string()).or_default();
                asked(values).for_each(|(kind, values)| add_keys(kind, values, keys));
            }
        }
        Ok(streams)
    },
    reads: |values, wanted| {
        let mut reads = wanted.clone();
        let Ok(options) = ResolveOptions::read(values) else { return Columns::All };
        reads.join(Columns::of([kind::START.name, kind::END.name]));
        for end in [Some(&options.end), options.other.as_ref()].into_iter().flatten() {
            reads.join(Columns::Some(end::READS.iter().map(|name| format!("{end}.{name}")).collect()));
        }
        reads
    },
    memory: |values| Memory::fixed(asked(values).map(|(kind, values)| (kind.bytes)(values)).sum()),
    needs: |values| {
        let files = asked(values).filter_map(|(kind, values)| (kind.file)(values));
        files.map(|path| Need::read(&path)).collect()
    },
    examples: &[
        "ebpf(replay: \"shop.flows\") | resolve(src, dst, from: [procfs(), table(\"teams.csv\", tags: [\"team\"])]) | stdout",
    ],
    ..ComponentSpec::PLAIN
};

/// The columns that get tags.
fn tag_columns(options: &ResolveOptions) -> impl Iterator<Item = &'static str> {
    let has = |end: &str| options.end == end || options.other.as_deref() == Some(end);
    let columns = [("src", kind::SRC_TAGS.name), ("dst", kind::DST_TAGS.name)];
    columns.into_iter().filter(move |(end, _)| has(end)).map(|(_, column)| column)
}

/// The keys that somebody may give.
fn add_keys(kind: &Kind, values: &Values, keys: &mut TagKeys) {
    match (kind.keys)(values) {
        Some(given) => keys.known.extend(given),
        None => keys.open = true,
    }
}

/// Somebody who knows something about ends.
pub trait Resolver: Send {
    /// Says of an end what is known; a key that has a value keeps it.
    fn look_up(&mut self, end: &End, tags: &mut Tags);

    /// Called before each batch, so that what is new counts for all of it.
    fn refresh(&mut self) {}

    /// What is counted beside rows.
    fn count(&mut self, _counts: &Counts) {}
}

fn build(cx: &BuildCx) -> Result<Box<dyn Transform>, Fault> {
    let values = cx.values();
    let options = ResolveOptions::read(&values).map_err(Fault::bug)?;
    let resolvers = asked(&values).map(|(kind, values)| (kind.build)(values, cx)).collect::<Result<_, _>>()?;
    let schema = cx.outputs[0].clone();
    Ok(Box::new(Resolve {
        columns: tag_columns(&options).collect(),
        resolvers,
        arrow: arrow_schema(&schema),
        schema,
        counts: cx.counts.clone(),
    }))
}

struct Resolve {
    columns: Vec<&'static str>,
    resolvers: Vec<Box<dyn Resolver>>,
    schema: Arc<Schema>,
    arrow: SchemaRef,
    counts: Arc<Counts>,
}

impl Transform for Resolve {
    fn on_batch(&mut self, batch: Batch, out: &mut Out) {
        self.resolvers.iter_mut().for_each(|resolver| resolver.refresh());
        let batch = batch.map(|rows| self.resolve(&rows));
        self.resolvers.iter_mut().for_each(|resolver| resolver.count(&self.counts));
        out.send(0, batch);
    }
}

impl Resolve {
    fn resolve(&mut self, rows: &RecordBatch) -> RecordBatch {
        let Resolve { columns, resolvers, schema, arrow, .. } = self;
        let one = |field: &weir_spec::Field| match columns.iter().find(|column| **column == field.name) {
            Some(column) => with_tags(rows, column, resolvers),
            None => column_of(rows, field),
        };
        record(arrow, schema.fields.iter().map(one).collect(), rows.num_rows())
    }
}

fn column_of(rows: &RecordBatch, field: &weir_spec::Field) -> arrow_array::ArrayRef {
    column(rows, Some(&field.name), field)
}

/// A column of tags with what the resolvers know. What is known of one end is asked for once a batch.
fn with_tags(rows: &RecordBatch, column: &str, resolvers: &mut [Box<dyn Resolver>]) -> arrow_array::ArrayRef {
    let view = View::new(rows, column.strip_suffix(".tags").unwrap_or(column));
    let mut known = HashMap::new();
    let mut numbers: HashMap<BTreeSet<String>, i32> = HashMap::new();
    let mut sets = TagSets::default();
    for row in 0..rows.num_rows() {
        let end = view.end(row);
        let set = *known.entry(end.key()).or_insert_with(|| {
            let mut tags = Tags::of(end.tags());
            resolvers.iter_mut().for_each(|resolver| resolver.look_up(&end, &mut tags));
            let all = tags.finish();
            (!all.is_empty()).then(|| {
                *numbers.entry(all).or_insert_with_key(|all| {
                    all.iter().for_each(|tag| sets.tag(tag.as_bytes()));
                    sets.end_set()
                })
            })
        });
        match set {
            Some(set) => sets.row(set),
            None => sets.row_absent(),
        }
    }
    sets.finish()
}

/// The options of a part, as its struct reads them.
fn read<T>(values: &Values, read: fn(&Values) -> Result<T, String>) -> Result<T, Fault> {
    read(values).map_err(Fault::bug)
}
