//! `blackhole`: takes rows and forgets them.

use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use weir_core::component::{Delivery, Encoded, Encoder, FarEnd, Outcome, Route, SinkBuild};
use weir_core::{Build, Entry};
use weir_spec::component::OutputSpec;
use weir_spec::{ComponentSpec, Shape};

pub const ENTRY: Entry = Entry {
    spec: &SPEC,
    build: Build::Sink(SinkBuild {
        encoder: |_| Ok(Box::new(Nothing)),
        far_end: |_| Ok(FarEnd::new(Arc::new(Nothing))),
    }),
};

pub static SPEC: ComponentSpec = ComponentSpec {
    name: "blackhole",
    summary: "takes rows and forgets them",
    shape: Shape::Sink,
    outputs: &[OutputSpec { name: "rejected", doc: "never has a row" }],
    reads: |_, _| weir_spec::component::Columns::All,
    examples: &["pcap(\"shop.pcap.gz\") | blackhole"],
    ..ComponentSpec::PLAIN
};

struct Nothing;

impl Encoder for Nothing {
    fn encode(&mut self, _: Route, _rows: &RecordBatch, _into: &mut BytesMut) -> Encoded {
        Encoded::All
    }
}

#[async_trait]
impl Delivery for Nothing {
    async fn deliver(&self, _: Route, _payload: Bytes) -> Outcome {
        Outcome::Delivered
    }
}
