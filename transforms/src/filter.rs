//! `where`: keeps the rows for which a condition is true.

use weir_core::eval::Compiled;
use weir_core::{Batch, Build, BuildCx, Entry, Fault, Out, Transform};
use weir_spec::ComponentSpec;
use weir_spec::component::{COMPUTED, ReasonSpec};
use weir_spec::plan::Stage;

pub const ENTRY: Entry = Entry { spec: &SPEC, build: Build::Transform(build) };

pub static SPEC: ComponentSpec = ComponentSpec {
    name: "where",
    summary: "keeps the rows for which a condition is true",
    drops: &[ReasonSpec { name: "where", doc: "rows for which the condition is false or absent" }],
    notes: &[COMPUTED],
    examples: &["pcap(\"shop.pcap.gz\") | where dst.port == 443 | stdout"],
    ..ComponentSpec::PLAIN
};

fn build(cx: &BuildCx) -> Result<Box<dyn Transform>, Fault> {
    let Stage::Where(condition) = &cx.node.stage else { return Err(Fault::bug("`where` without a condition")) };
    Ok(Box::new(Where(Compiled::new(condition, &cx.inputs[0], cx.counts))))
}

struct Where(Compiled);

impl Transform for Where {
    fn on_batch(&mut self, batch: Batch, out: &mut Out) {
        let mask = self.0.mask(&batch.rows);
        let kept = out.keep(batch, &mask, "where");
        out.send(0, kept);
    }
}
