//! `limit`: the first rows, then the input ends.

use weir_core::batch::mask;
use weir_core::{Batch, Build, BuildCx, Entry, Fault, Out, Transform};
use weir_spec::ComponentSpec;
use weir_spec::component::ReasonSpec;
use weir_spec::option::OptionType;

weir_spec::options! {
    pub struct LimitOptions {
        /// How many rows pass.
        rows: u64 = (OptionType::Int { min: 0, max: i64::MAX }, positional, required),
    }
}

pub const ENTRY: Entry = Entry { spec: &SPEC, build: Build::Transform(build) };

pub static SPEC: ComponentSpec = ComponentSpec {
    name: "limit",
    summary: "passes so many rows, then ends its input",
    options: LimitOptions::SPECS,
    drops: &[ReasonSpec { name: "limit", doc: "rows after the limit" }],
    examples: &["pcap(\"shop.pcap.gz\") | limit(10) | stdout"],
    ..ComponentSpec::PLAIN
};

fn build(cx: &BuildCx) -> Result<Box<dyn Transform>, Fault> {
    let options = LimitOptions::read(&cx.values()).map_err(Fault::bug)?;
    Ok(Box::new(Limit { left: options.rows as usize }))
}

struct Limit {
    left: usize,
}

impl Transform for Limit {
    fn on_batch(&mut self, batch: Batch, out: &mut Out) {
        let pass = self.left.min(batch.len());
        let first = mask(batch.len(), |row| row < pass);
        let kept = out.keep(batch, &first, "limit");
        self.left -= pass;
        out.send(0, kept);
    }

    fn finished(&self) -> bool {
        self.left == 0
    }
}
