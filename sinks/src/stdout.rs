//! `stdout`: rows on the terminal or into a pipe.

use std::io::{self, Write};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use weir_core::component::{Delivery, Encoder, FarEnd, Outcome, Route, SinkBuild};
use weir_core::{Build, BuildCx, Entry, Fault};
use weir_spec::component::{Columns, OutputSpec};
use weir_spec::memory::Memory;
use weir_spec::option::OptionType;
use weir_spec::schema;
use weir_spec::{ComponentSpec, Shape};

use crate::{encode, terminal};

weir_spec::options! {
    pub struct StdoutOptions {
        /// How rows are written.
        encoding: String = (OptionType::Word(encode::WORDS), positional, "table"),
    }
}

pub const ENTRY: Entry = Entry { spec: &SPEC, build: Build::Sink(SinkBuild { encoder, far_end }) };

pub static SPEC: ComponentSpec = ComponentSpec {
    name: "stdout",
    summary: "rows on standard output, as a table or as JSON",
    shape: Shape::Sink,
    options: StdoutOptions::SPECS,
    outputs: &[OutputSpec { name: "rejected", doc: "never has a row" }],
    delivers: schema::Delivery::AtLeastOnce,
    reads: |_, _| Columns::All,
    memory: |_| Memory::fixed(4 << 20),
    examples: &["pcap(\"shop.pcap.gz\") | biflow | stdout(ndjson)"],
    ..ComponentSpec::PLAIN
};

fn encoder(cx: &BuildCx) -> Result<Box<dyn Encoder>, Fault> {
    let options = StdoutOptions::read(&cx.values()).map_err(Fault::bug)?;
    let color = terminal::is_colored(&io::stdout());
    Ok(encode::encoder(&options.encoding, &cx.inputs[0], color, cx.bounded))
}

fn far_end(_: &BuildCx) -> Result<FarEnd, Fault> {
    Ok(FarEnd::new(Arc::new(Stdout)))
}

struct Stdout;

#[async_trait]
impl Delivery for Stdout {
    async fn deliver(&self, _: Route, payload: Bytes) -> Outcome {
        // Writing may block on a slow reader: not where the other tasks run.
        let write = move || {
            terminal::make_way();
            let mut out = io::stdout().lock();
            out.write_all(&payload).and_then(|()| out.flush())
        };
        match tokio::task::spawn_blocking(write).await {
            Ok(Ok(())) => Outcome::Delivered,
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Outcome::Closed,
            Ok(Err(error)) => Outcome::Down(Fault::environment(format!("cannot write to standard output: {error}"))),
            Err(error) => Outcome::Down(Fault::bug(error.to_string())),
        }
    }
}
