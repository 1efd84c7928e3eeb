//! `each_end`: a conversation as each of the ends that counted it saw it.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch, UInt8Array};
use arrow_schema::SchemaRef;
use arrow_select::interleave::interleave;
use weir_core::batch::{Batch, Times, take_rows};
use weir_core::columns::{absent, arrow_schema, get, record};
use weir_core::{Acks, Build, BuildCx, Entry, Fault, Out, Time, Transform};
use weir_spec::component::{Columns, Inputs, OutputSpec};
use weir_spec::kinds::enums::observer;
use weir_spec::kinds::flow as kind;
use weir_spec::{ComponentSpec, Field, Schema, Shape};

use crate::ends::{self, at_dst, column, turned};

weir_spec::options! {
    pub struct EachEndOptions {}
}

pub const ENTRY: Entry = Entry { spec: &SPEC, build: Build::Transform(build) };

pub static SPEC: ComponentSpec = ComponentSpec {
    name: "each_end",
    summary: "conversations as each of their ends saw them: `src` becomes the end that tells",
    shape: Shape::Stateful,
    options: EachEndOptions::SPECS,
    inputs: Inputs::One(&["flow"]),
    outputs: &[OutputSpec {
        name: "",
        doc: "one row a conversation and end that counted it; of packets seen on the way, both ends",
    }],
    makes: true,
    typing: |_, inputs| inputs.iter().map(ends::mixed).collect(),
    reads: |_, wanted| match wanted {
        Columns::All => Columns::All,
        Columns::Some(names) => {
            let from = names.iter().flat_map(|name| [Some(name.clone()), turned(name), at_dst(name)]);
            let mut reads = Columns::Some(from.flatten().collect());
            reads.join(Columns::of([kind::OBSERVER_.name]));
            reads
        }
    },
    examples: &[
        "pcap(\"shop.pcap.gz\") | biflow | each_end | window(5m) by src.ip { sent = sum(sent_bytes) } | stdout",
    ],
    ..ComponentSpec::PLAIN
};

fn build(cx: &BuildCx) -> Result<Box<dyn Transform>, Fault> {
    let schema = cx.outputs[0].clone();
    Ok(Box::new(EachEnd { arrow: arrow_schema(&schema), schema, owed: None }))
}

struct EachEnd {
    schema: Arc<Schema>,
    arrow: SchemaRef,
    /// What `dst` saw of the batch that was taken in last, with its times.
    owed: Option<(RecordBatch, Times, Acks, Time)>,
}

/// Which end told each row, as far as that is known.
fn told(rows: &RecordBatch) -> Vec<Option<u8>> {
    get(rows, kind::OBSERVER_).map_or_else(|| vec![None; rows.num_rows()], |observers| observers.iter().collect())
}

impl EachEnd {
    /// The rows as `src` saw them.
    fn at_src(&self, rows: &RecordBatch) -> RecordBatch {
        self.view(rows, true, |field| column(rows, Some(&field.name), field))
    }

    /// The rows as `dst` saw them, which becomes `src`.
    fn at_dst(&self, rows: &RecordBatch) -> RecordBatch {
        // With both, what `dst` has counted stands beside what `src` has.
        let is_both = |(row, told): (usize, Option<u8>)| (usize::from(told == Some(observer::BOTH)), row);
        let which: Vec<(usize, usize)> = told(rows).into_iter().enumerate().map(is_both).collect();
        self.view(rows, false, |field| {
            let theirs = column(rows, turned(&field.name).as_deref(), field);
            let Some(own) = at_dst(&field.name) else { return theirs };
            let own = column(rows, Some(&own), field);
            match interleave(&[theirs.as_ref(), own.as_ref()], &which) {
                Ok(column) => column,
                // Both are of one representation, and have a value for each row.
                Err(error) => unreachable!("each_end: {error}"),
            }
        })
    }

    /// Rows of one end: what is the same for both ends' views, and the rest from `column`.
    fn view(&self, rows: &RecordBatch, is_src: bool, column: impl Fn(&Field) -> ArrayRef) -> RecordBatch {
        let told = told(rows);
        let of = |field: &Field| -> ArrayRef {
            match field.name.as_str() {
                // A row of which nobody knows who told it has no ends, either.
                name if name == kind::INITIATED.name => {
                    Arc::new(told.iter().map(|told| told.map(|_| is_src)).collect::<BooleanArray>())
                }
                // The row's `src` now, or still somebody on the way.
                name if name == kind::OBSERVER_.name => {
                    let now = |told: u8| if told == observer::PATH { told } else { observer::SRC };
                    Arc::new(told.iter().map(|told| told.map(now)).collect::<UInt8Array>())
                }
                // The other end's count is a row of its own.
                name if name.starts_with("dst_") => absent(field.repr, rows.num_rows()),
                _ => column(field),
            }
        };
        record(&self.arrow, self.schema.fields.iter().map(of).collect(), rows.num_rows())
    }
}

impl Transform for EachEnd {
    fn on_batch(&mut self, batch: Batch, out: &mut Out) {
        let (time, seen) = (batch.time.clone(), batch.seen.clone());
        let (rows, acks) = out.absorb(batch);
        let told = told(&rows);
        let rows_of = |is_it: fn(Option<u8>) -> bool| -> Vec<u32> {
            (0..told.len() as u32).filter(|row| is_it(told[*row as usize])).collect()
        };
        let times = |picked: &[u32]| Times::Seen {
            time: picked.iter().map(|row| time[*row as usize]).collect(),
            seen: picked.iter().map(|row| seen[*row as usize]).collect(),
        };
        let src = rows_of(|told| told != Some(observer::DST));
        let dst = rows_of(|told| matches!(told, Some(observer::DST | observer::BOTH | observer::PATH)));
        if let Some(first) = dst.iter().map(|row| time[*row as usize]).min() {
            let view = self.at_dst(&take_rows(&rows, &dst));
            self.owed = Some((view, times(&dst), acks.split(), Time(first)));
        }
        match src.is_empty() {
            true => acks.delivered(),
            false => out.make(0, self.at_src(&take_rows(&rows, &src)), times(&src), acks),
        }
    }

    fn due(&self) -> Option<Time> {
        self.owed.as_ref().map(|(_, _, _, first)| *first)
    }

    fn emit(&mut self, out: &mut Out) {
        if let Some((rows, times, acks, _)) = self.owed.take() {
            out.make(0, rows, times, acks);
        }
    }
}
