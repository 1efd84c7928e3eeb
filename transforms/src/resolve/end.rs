//! One end of a conversation, as it is looked up.

use arrow_array::types::Int32Type;
use arrow_array::{Array, DictionaryArray, FixedSizeBinaryArray, Int64Array, RecordBatch, UInt16Array};
use weir_core::columns::{addresses, get};
use weir_core::eval::text::word;
use weir_core::tags::{self, TagView};
use weir_spec::kinds::flow as kind;

/// What is read of an end, behind `src.` or `dst.`.
pub const READS: &[&str] = &["ip", "port", "pid", "process", "host", "container", "tags"];

/// The columns of one end.
pub struct View<'a> {
    ips: Option<&'a FixedSizeBinaryArray>,
    ports: Option<&'a UInt16Array>,
    pids: Option<&'a Int64Array>,
    processes: Option<&'a DictionaryArray<Int32Type>>,
    hosts: Option<&'a DictionaryArray<Int32Type>>,
    containers: Option<&'a DictionaryArray<Int32Type>>,
    tags: Option<TagView<'a>>,
    starts: Option<&'a Int64Array>,
    ends: Option<&'a Int64Array>,
}

/// One end of one conversation. What the row does not say is absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct End<'a> {
    pub ip: Option<[u8; 16]>,
    pub port: Option<u16>,
    pub pid: Option<i64>,
    pub process: Option<&'a str>,
    pub host: Option<&'a str>,
    pub container: Option<&'a str>,
    /// When the conversation began and ended, or was last told of.
    pub start: Option<i64>,
    pub end: Option<i64>,
    tags: Option<&'a [u8]>,
}

/// What two ends have in common of which the same is known. A number of a process is another one's at another time.
pub type Key<'a> =
    (Option<[u8; 16]>, Option<u16>, Option<i64>, [Option<&'a str>; 3], [Option<i64>; 2], Option<&'a [u8]>);

fn number(column: Option<&Int64Array>, row: usize) -> Option<i64> {
    column.filter(|column| column.is_valid(row)).map(|column| column.value(row))
}

impl<'a> View<'a> {
    /// Of `src` or `dst`.
    pub fn new(rows: &'a RecordBatch, end: &str) -> View<'a> {
        let is_src = end == "src";
        macro_rules! of {
            ($src:ident, $dst:ident) => {
                if is_src { get(rows, kind::$src) } else { get(rows, kind::$dst) }
            };
        }
        View {
            ips: of!(SRC_IP, DST_IP),
            ports: of!(SRC_PORT, DST_PORT),
            pids: of!(SRC_PID, DST_PID),
            processes: of!(SRC_PROCESS, DST_PROCESS),
            hosts: of!(SRC_HOST, DST_HOST),
            containers: of!(SRC_CONTAINER, DST_CONTAINER),
            tags: of!(SRC_TAGS, DST_TAGS).and_then(TagView::new),
            starts: get(rows, kind::START),
            ends: get(rows, kind::END),
        }
    }

    pub fn end(&self, row: usize) -> End<'a> {
        let text = |words: Option<&'a DictionaryArray<Int32Type>>| words.and_then(|words| word(words, row));
        End {
            ip: self.ips.filter(|ips| ips.is_valid(row)).map(|ips| addresses(ips)[row]),
            port: self.ports.filter(|ports| ports.is_valid(row)).map(|ports| ports.value(row)),
            pid: number(self.pids, row),
            process: text(self.processes),
            host: text(self.hosts),
            container: text(self.containers),
            start: number(self.starts, row),
            end: number(self.ends, row),
            tags: self.tags.as_ref().and_then(|view| Some(view.bytes(view.set(row)?))),
        }
    }
}

impl<'a> End<'a> {
    /// The tags that the row has already.
    pub fn tags(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        tags::each(self.tags.unwrap_or_default())
    }

    pub fn key(&self) -> Key<'a> {
        let times = [self.start, self.end].map(|time| time.filter(|_| self.pid.is_some()));
        (self.ip, self.port, self.pid, [self.process, self.host, self.container], times, self.tags)
    }
}
