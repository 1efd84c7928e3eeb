//! `route`: each row to the first output whose condition is true, the others to `rest`.

use arrow_array::Array;
use weir_core::eval::Compiled;
use weir_core::{Batch, Build, BuildCx, Entry, Fault, Out, Transform};
use weir_spec::ComponentSpec;
use weir_spec::component::{COMPUTED, OutputSpec};
use weir_spec::plan::Stage;

pub const ENTRY: Entry = Entry { spec: &SPEC, build: Build::Transform(build) };

pub static SPEC: ComponentSpec = ComponentSpec {
    name: "route",
    summary: "sends each row to the first output whose condition is true",
    outputs: &[OutputSpec { name: "rest", doc: "rows for which no condition is true" }],
    notes: &[COMPUTED],
    examples: &["let by_port = pcap(\"shop.pcap.gz\") | route { web = dst.port == 443, dns = dst.port == 53 }
by_port.web | stdout
merge(by_port.dns, by_port.rest) | stdout"],
    ..ComponentSpec::PLAIN
};

fn build(cx: &BuildCx) -> Result<Box<dyn Transform>, Fault> {
    let Stage::Route(conditions) = &cx.node.stage else { return Err(Fault::bug("`route` without conditions")) };
    let bound = conditions.iter().map(|c| Compiled::new(c, &cx.inputs[0], cx.counts)).collect();
    Ok(Box::new(Route(bound)))
}

struct Route(Vec<Compiled>);

impl Transform for Route {
    fn on_batch(&mut self, batch: Batch, out: &mut Out) {
        let masks: Vec<_> = self.0.iter().map(|c| c.mask(&batch.rows)).collect();
        let rest = masks.len() as u32;
        let first = |row| masks.iter().position(|m| m.is_valid(row) && m.value(row));
        let part: Vec<u32> = (0..batch.len()).map(|row| first(row).map_or(rest, |at| at as u32)).collect();
        for (port, part) in batch.partition(&part, masks.len() + 1).into_iter().enumerate() {
            if let Some(part) = part {
                out.send(port, part);
            }
        }
    }
}
