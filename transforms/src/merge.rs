//! `merge`: rows of several streams as one. Promises no order between them.

use std::sync::Arc;

use weir_core::columns::arrow_schema;
use weir_core::{Batch, Build, BuildCx, Entry, Fault, Out, Transform};
use weir_spec::component::Inputs;
use weir_spec::{ComponentSpec, Schema, Shape};

use weir_core::columns::record;

pub const ENTRY: Entry = Entry { spec: &SPEC, build: Build::Transform(build) };

pub static SPEC: ComponentSpec = ComponentSpec {
    name: "merge",
    summary: "rows of several streams as one",
    shape: Shape::Stateful,
    inputs: Inputs::Many,
    examples: &["let a = pcap(\"a.pcap\")
let b = pcap(\"b.pcap\")
merge(a, b) | where dst.port == 443 | stdout"],
    ..ComponentSpec::PLAIN
};

fn build(cx: &BuildCx) -> Result<Box<dyn Transform>, Fault> {
    let output = cx.outputs.first().cloned().unwrap_or_default();
    Ok(Box::new(Merge { arrow: arrow_schema(&output), output }))
}

struct Merge {
    output: Arc<Schema>,
    arrow: arrow_schema::SchemaRef,
}

impl Transform for Merge {
    fn on_batch(&mut self, batch: Batch, out: &mut Out) {
        let aligned = batch.map(|rows| {
            let columns = self.output.names().filter_map(|name| rows.column_by_name(name).cloned());
            record(&self.arrow, columns.collect(), rows.num_rows())
        });
        out.send(0, aligned);
    }
}
