//! `pcap`: packets of capture files.

pub mod reader;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use weir_core::acks::Tally;
use weir_core::{Acks, Build, BuildCx, Entry, Fault, Finish, Source, SourceCx, Time};
use weir_spec::component::{Inputs, Need, OutputSpec, ReasonSpec};
use weir_spec::kinds::packet::PACKET;
use weir_spec::memory::Memory;
use weir_spec::option::OptionType;
use weir_spec::schema::Delivery;
use weir_spec::{ComponentSpec, Schema, Shape, Stream};

use crate::input::{CHUNK_BYTES, Input, Next, Patience, resolve};
use crate::packet::batch::PacketBatch;
use crate::packet::{self, Refused};
use reader::{RECORD_BYTES_MAX, Reader, Record, Step};

weir_spec::options! {
    pub struct PcapOptions {
        /// Files to read, one after the other; `*` and `?` match names, `-` is standard input.
        path: Vec<String> = (OptionType::List(&OptionType::Path), positional, required),
        /// Which IP header of a tunnelled packet counts.
        decode: String = (OptionType::Word(&["outer"]), "outer"),
    }
}

pub const ENTRY: Entry = Entry { spec: &SPEC, build: Build::Source(build) };

pub static SPEC: ComponentSpec = ComponentSpec {
    name: "pcap",
    summary: "packets of capture files: pcap and pcapng, plain, gzip or zstd",
    shape: Shape::Source,
    options: PcapOptions::SPECS,
    inputs: Inputs::None,
    outputs: &[OutputSpec { name: "", doc: "one row a packet" }],
    drops: DROPS,
    makes: true,
    delivers: Delivery::AtLeastOnce,
    typing: |_, _| Ok(vec![Stream { delivery: Delivery::AtLeastOnce, ..Stream::of_kind(&PACKET) }]),
    memory: |_| Memory::fixed((2 * RECORD_BYTES_MAX + 4 * CHUNK_BYTES) as u64),
    needs: |values| values.get("path").items().iter().filter_map(|v| v.as_str()).map(Need::read).collect(),
    examples: &["pcap(\"shop.pcap.gz\") | biflow | stdout", "pcap(\"-\") | where protocol == \"udp\" | stdout"],
    ..ComponentSpec::PLAIN
};

const DROPS: &[ReasonSpec] = &[
    ReasonSpec { name: Refused::Link.reason(), doc: "frames of a link type that is not read" },
    ReasonSpec { name: Refused::NotIp.reason(), doc: "frames that carry no IP" },
    ReasonSpec { name: Refused::Cut.reason(), doc: "packets cut before their addresses" },
    ReasonSpec { name: Refused::Malformed.reason(), doc: "IP headers that contradict themselves" },
    ReasonSpec { name: "lost_at_capture", doc: "packets the capture says it did not get" },
    ReasonSpec { name: "damaged", doc: "records that the file's own structure contradicts" },
];

fn build(cx: &BuildCx) -> Result<Box<dyn Source>, Fault> {
    let options = PcapOptions::read(&cx.values()).map_err(Fault::bug)?;
    let files = resolve(&options.path, cx.places)?;
    Ok(Box::new(Pcap { files, schema: cx.outputs[0].clone() }))
}

struct Pcap {
    files: Vec<PathBuf>,
    schema: Arc<Schema>,
}

/// What goes on from file to file.
struct Run {
    batch: PacketBatch,
    /// How far event time has come.
    latest: Time,
    delivered: Arc<Tally>,
    batches: u64,
    patience: Patience,
}

#[async_trait]
impl Source for Pcap {
    async fn run(self: Box<Self>, cx: &mut SourceCx) -> Result<Finish, Fault> {
        let mut run = Run {
            batch: PacketBatch::new(&self.schema),
            latest: Time::START,
            delivered: Arc::default(),
            batches: 0,
            patience: Patience::default(),
        };
        for path in &self.files {
            let read = run.file(path, cx).await;
            if let Err(fault) = read {
                cx.report(fault);
            }
            if !run.flush(cx).await {
                break;
            }
        }
        Ok(Finish::Flush)
    }
}

/// The part of a file that is in memory.
struct Window {
    data: Vec<u8>,
    /// Bytes of `data` already used.
    start: usize,
    /// Offset of `data[start]` in the (unpacked) file.
    offset: u64,
}

impl Run {
    /// Reads one file to its end, or to where it breaks.
    async fn file(&mut self, path: &Path, cx: &mut SourceCx) -> Result<(), Fault> {
        let mut input = Input::open(path, cx.progress())?;
        let mut reader = Reader::default();
        let mut names: Vec<Option<Arc<str>>> = Vec::new();
        let mut window = Window { data: Vec::with_capacity(2 * CHUNK_BYTES), start: 0, offset: 0 };
        let mut wrong: Option<Fault> = None;
        loop {
            let needed = self.steps(&mut reader, &mut window, &mut names, cx, path, &mut wrong);
            if self.batch.is_full() {
                if !self.flush(cx).await {
                    return Ok(());
                }
                continue;
            }
            let needed = needed?;
            let left = window.data.len() - window.start;
            window.data.drain(..window.start);
            window.start = 0;
            let patience = (!self.batch.is_empty()).then_some(&mut self.patience);
            let read = match input.next(&mut window.data, cx, patience).await {
                Next::Read(read) => read,
                Next::Stopped => return Ok(()),
                Next::Paused if self.flush(cx).await => continue,
                Next::Paused => return Ok(()),
            };
            match read {
                Ok(0) if left == 0 && reader.is_known() => return wrong.map_or(Ok(()), Err),
                Ok(0) => return Err(cut_short(path, &window, left, needed, reader.is_known())),
                Ok(_) => {}
                Err(error) => return Err(damaged(path, &window, &error.to_string())),
            }
        }
    }

    /// Takes packets out of the window until a batch is full or more bytes are needed.
    fn steps(
        &mut self,
        reader: &mut Reader,
        window: &mut Window,
        names: &mut Vec<Option<Arc<str>>>,
        cx: &mut SourceCx,
        path: &Path,
        wrong: &mut Option<Fault>,
    ) -> Result<usize, Fault> {
        while !self.batch.is_full() {
            let step = reader.step(&window.data[window.start..]);
            let used = match step {
                Step::Need(bytes) => return Ok(bytes),
                Step::Skip { used } => used,
                Step::Lost { used, packets } => {
                    cx.reject("lost_at_capture", packets as usize);
                    used
                }
                Step::Bad { used, why } => {
                    cx.reject("damaged", 1);
                    wrong.get_or_insert_with(|| damaged(path, window, &why));
                    used
                }
                Step::Broken { why } => return Err(damaged(path, window, &why)),
                Step::Packet { used, packet } => {
                    let link = reader.interfaces[packet.interface].link;
                    let name = names.get(packet.interface).and_then(Option::as_ref);
                    self.packet(link, &packet, name, cx);
                    used
                }
            };
            // Interfaces are described before their packets; each name is kept once.
            let new = reader.interfaces.iter().skip(names.len());
            let unnamed = |at: usize| (at > 0).then(|| format!("#{at}"));
            let named =
                new.enumerate().map(|(n, interface)| interface.name.clone().or_else(|| unnamed(names.len() + n)));
            let named: Vec<_> = named.map(|name| name.map(Arc::from)).collect();
            names.extend(named);
            window.start += used;
            window.offset += used as u64;
        }
        Ok(0)
    }
}

impl Run {
    fn packet(&mut self, link: u16, record: &Record, interface: Option<&Arc<str>>, cx: &mut SourceCx) {
        match packet::parse(link, record.data, record.wire_bytes) {
            Ok(packet) => {
                self.batch.push(record.time, self.latest.0, record.wire_bytes, interface, &packet);
                self.latest = self.latest.max(Time(record.time));
            }
            Err(refused) => cx.reject(refused.reason(), 1),
        }
    }

    /// Sends what was collected; `false` if nobody wants more.
    async fn flush(&mut self, cx: &mut SourceCx) -> bool {
        self.patience.reset();
        if !cx.ready().await {
            return false;
        }
        if self.batch.is_empty() {
            return true;
        }
        let (rows, times) = self.batch.finish();
        let acks = Acks::new(self.delivered.clone(), self.batches);
        self.batches += 1;
        cx.made(0, rows, times, acks);
        cx.advance(self.latest);
        true
    }
}

/// The file ends inside something.
fn cut_short(path: &Path, window: &Window, left: usize, needed: usize, known: bool) -> Fault {
    let name = path.display();
    if left == 0 && !known {
        return Fault::input(format!("`{name}` is empty"));
    }
    let at = window.offset;
    Fault::input(format!("`{name}` ends early: at offset {at} there are {left} bytes where {needed} belong"))
        .help("what came before it has been read; the capture was probably still being written")
}

fn damaged(path: &Path, window: &Window, why: &str) -> Fault {
    let fault = Fault::input(format!("`{}` at offset {}: {why}", path.display(), window.offset));
    if window.offset == 0 { fault } else { fault.help("what came before it has been read") }
}
