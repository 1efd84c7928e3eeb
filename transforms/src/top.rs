//! `top`: of each window the rows with the largest values, largest first.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_core::columns::numbers;
use weir_core::eval::Compiled;
use weir_core::{Batch, Build, BuildCx, Entry, Fault, Out, Time, Transform};
use weir_spec::component::{COMPUTED, ReasonSpec};
use weir_spec::memory::Memory;
use weir_spec::option::{OptionError, OptionType};
use weir_spec::{ComponentSpec, Expr, Shape, Type};

weir_spec::options! {
    pub struct TopOptions {
        /// How many rows of each window stay.
        rows: u64 = (OptionType::Int { min: 1, max: 100_000 }, positional, required),
        /// What is large: a number, a size, a duration or a time.
        by: Arc<Expr> = (OptionType::Expr, required),
    }
}

pub const ENTRY: Entry = Entry { spec: &SPEC, build: Build::Transform(build) };

pub static SPEC: ComponentSpec = ComponentSpec {
    name: "top",
    summary: "of each window the rows with the largest values",
    shape: Shape::Stateful,
    options: TopOptions::SPECS,
    drops: &[ReasonSpec { name: "top", doc: "rows below the largest of their window" }],
    typing: |values, inputs| {
        let ty = values.get("by").ty();
        if !ty.is_number() && ty != Type::Time {
            return Err(OptionError::new("by", format!("`by` has to be a number or a time, this is a `{ty}`")));
        }
        if inputs.iter().any(|i| i.windowed.is_none() && !i.bounded && !i.poisoned) {
            let error = OptionError::new("rows", "`top` without a window never ends on a stream that never ends");
            return Err(error.help("put a window before it: `| window(5m) by … { … } | top(10, by: …)`"));
        }
        Ok(inputs.to_vec())
    },
    memory: |_| Memory::share(0),
    notes: &[COMPUTED],
    examples: &["pcap(\"shop.pcap.gz\") | window(5m) by src.ip { bytes = sum(ip_bytes) } | top(3, by: bytes) | stdout"],
    ..ComponentSpec::PLAIN
};

fn build(cx: &BuildCx) -> Result<Box<dyn Transform>, Fault> {
    let options = TopOptions::read(&cx.values()).map_err(Fault::bug)?;
    let by = Compiled::new(&options.by, &cx.inputs[0], cx.counts);
    let windowed = cx.node.outputs.iter().any(|o| o.stream.windowed.is_some());
    Ok(Box::new(Top { n: options.rows as usize, by, windowed, windows: BTreeMap::new(), reached: Time::START }))
}

struct Top {
    n: usize,
    by: Compiled,
    windowed: bool,
    /// By event time, which for rows of a window is its start.
    windows: BTreeMap<i64, Batch>,
    reached: Time,
}

impl Transform for Top {
    fn on_batch(&mut self, batch: Batch, out: &mut Out) {
        let windowed = self.windowed;
        let window = |row: usize| if windowed { batch.time[row] } else { 0 };
        let mut starts: Vec<i64> = (0..batch.len()).map(window).collect();
        let each = starts.clone();
        starts.sort_unstable();
        starts.dedup();
        let at = |start: &i64| starts.binary_search(start).unwrap_or(0) as u32;
        let part: Vec<u32> = each.iter().map(at).collect();
        for (start, part) in starts.iter().zip(batch.partition(&part, starts.len())) {
            let both: Vec<Batch> = self.windows.remove(start).into_iter().chain(part).collect();
            if let Some(all) = Batch::join(both) {
                let best = self.largest(all, out);
                self.windows.insert(*start, best);
            }
        }
    }

    fn on_watermark(&mut self, now: Time) {
        self.reached = now;
    }

    fn due(&self) -> Option<Time> {
        let (start, _) = self.windows.first_key_value()?;
        let done = self.reached == Time::END || (self.windowed && Time(*start) <= self.reached);
        done.then_some(Time(*start))
    }

    fn emit(&mut self, out: &mut Out) {
        if let Some((_, batch)) = self.windows.pop_first() {
            out.send(0, batch);
        }
    }

    fn watermark(&self, input: Time) -> Time {
        if self.windowed || input == Time::END { input } else { Time::START }
    }

    fn held(&self) -> usize {
        self.windows.values().map(Batch::len).sum()
    }
}

impl Top {
    /// The largest rows, in order; among equals the first to come. Rows without a value are last.
    fn largest(&self, batch: Batch, out: &mut Out) -> Batch {
        let values = numbers(&self.by.eval(&batch.rows));
        let value = |row: u32| values[row as usize].unwrap_or(f64::NEG_INFINITY);
        let mut order: Vec<u32> = (0..batch.len() as u32).collect();
        order.sort_by(|a, b| value(*b).total_cmp(&value(*a)));
        order.truncate(self.n);
        out.counts().add_dropped("top", batch.len() - order.len());
        let best = batch.take(&order);
        batch.acks.delivered();
        best
    }
}
