//! Packets as columns of the kind `packet`.
//!
//! Plain vectors of one capacity, turned into Arrow buffers at the end; what few packets have
//! (VLANs, fragments, identifiers) is kept sparse. Arrow's builders cost a third more here.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, UInt8Array, UInt16Array, UInt32Array};
use arrow_buffer::{NullBuffer, ScalarBuffer};
use weir_core::batch::{BATCH_ROWS, Times};
use weir_core::columns::{self, WordBuilder, absent, arrow_schema};
use weir_spec::Schema;
use weir_spec::kind::Key;
use weir_spec::kinds::packet as kind;

use super::{Fragment, Packet};

/// Collects packets until a batch is full.
pub struct PacketBatch {
    schema: Arc<Schema>,
    arrow: arrow_schema::SchemaRef,
    time: Vec<i64>,
    seen: Vec<i64>,
    src: Vec<[u8; 16]>,
    dst: Vec<[u8; 16]>,
    src_port: Vec<u16>,
    dst_port: Vec<u16>,
    protocol: Vec<u8>,
    ip_bytes: Vec<u32>,
    frame_bytes: Vec<u32>,
    payload_bytes: Vec<u32>,
    flags: Vec<u8>,
    seq: Vec<u32>,
    ack: Vec<u32>,
    window: Vec<u16>,
    faults: Vec<u8>,
    has_tcp: Vec<bool>,
    interface: Vec<(usize, Arc<str>)>,
    vlans: Vec<(usize, Vec<i64>)>,
    icmp_ids: Vec<(usize, u16)>,
    fragments: Vec<(usize, Fragment)>,
}

macro_rules! each_dense {
    ($self:ident, $f:ident) => {
        $f!(
            $self.time,
            $self.seen,
            $self.src,
            $self.dst,
            $self.src_port,
            $self.dst_port,
            $self.protocol,
            $self.ip_bytes,
            $self.frame_bytes,
            $self.payload_bytes,
            $self.flags,
            $self.seq,
            $self.ack,
            $self.window,
            $self.faults
        )
    };
}

impl PacketBatch {
    /// `schema` are the columns that somebody reads.
    pub fn new(schema: &Arc<Schema>) -> PacketBatch {
        let mut batch = PacketBatch {
            schema: schema.clone(),
            arrow: arrow_schema(schema),
            time: Vec::new(),
            seen: Vec::new(),
            src: Vec::new(),
            dst: Vec::new(),
            src_port: Vec::new(),
            dst_port: Vec::new(),
            protocol: Vec::new(),
            ip_bytes: Vec::new(),
            frame_bytes: Vec::new(),
            payload_bytes: Vec::new(),
            flags: Vec::new(),
            seq: Vec::new(),
            ack: Vec::new(),
            window: Vec::new(),
            faults: Vec::new(),
            has_tcp: Vec::new(),
            interface: Vec::new(),
            vlans: Vec::new(),
            icmp_ids: Vec::new(),
            fragments: Vec::new(),
        };
        batch.reserve();
        batch
    }

    fn reserve(&mut self) {
        macro_rules! reserve { ($($v:expr),*) => { $( $v.reserve_exact(BATCH_ROWS); )* } }
        each_dense!(self, reserve);
    }

    pub fn len(&self) -> usize {
        self.time.len()
    }

    pub fn is_empty(&self) -> bool {
        self.time.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.time.len() >= BATCH_ROWS
    }

    /// Adds a packet; `seen` is how far the capture's time had come before it.
    pub fn push(&mut self, time: i64, seen: i64, frame_bytes: u32, interface: Option<&Arc<str>>, p: &Packet) {
        let row = self.time.len();
        self.time.push(time);
        self.seen.push(seen);
        self.src.push(p.src);
        self.dst.push(p.dst);
        self.src_port.push(p.src_port);
        self.dst_port.push(p.dst_port);
        self.protocol.push(p.protocol);
        self.ip_bytes.push(p.ip_bytes);
        self.frame_bytes.push(frame_bytes);
        self.payload_bytes.push(p.payload_bytes);
        self.flags.push(p.flags);
        self.seq.push(p.seq);
        self.ack.push(p.ack);
        self.window.push(p.window);
        self.faults.push(p.faults);
        self.has_tcp.push(p.has_tcp);
        if let Some(name) = interface {
            self.interface.push((row, name.clone()));
        }
        if p.vlan_count > 0 {
            let ids = p.vlans[..usize::from(p.vlan_count)].iter().map(|id| i64::from(*id));
            self.vlans.push((row, ids.collect()));
        }
        if let Some(id) = p.icmp_id {
            self.icmp_ids.push((row, id));
        }
        if let Some(fragment) = p.fragment {
            self.fragments.push((row, fragment));
        }
    }

    /// The packets so far as a batch; the collection is empty again.
    pub fn finish(&mut self) -> (RecordBatch, Times) {
        let time = ScalarBuffer::from(std::mem::take(&mut self.time));
        let seen = ScalarBuffer::from(std::mem::take(&mut self.seen));
        let mut made: Vec<(&'static str, ArrayRef)> = self.dense(&time);
        made.extend(self.sparse(time.len()));
        let column = |f: &weir_spec::Field| {
            let found = made.iter().find(|(name, _)| *name == f.name);
            found.map_or_else(|| absent(f.repr, time.len()), |(_, array)| array.clone())
        };
        let fields: Vec<ArrayRef> = self.schema.fields.iter().map(column).collect();
        let rows = weir_core::columns::record(&self.arrow, fields, time.len());
        self.reserve();
        (rows, Times::Seen { time, seen })
    }

    fn dense(&mut self, time: &ScalarBuffer<i64>) -> Vec<(&'static str, ArrayRef)> {
        fn take<T>(values: &mut Vec<T>) -> ScalarBuffer<T>
        where
            T: arrow_buffer::ArrowNativeType,
        {
            ScalarBuffer::from(std::mem::take(values))
        }
        let protocol = take(&mut self.protocol);
        // Null wherever no TCP header was read: other protocols, later fragments, cut packets.
        let has_tcp = NullBuffer::from(std::mem::take(&mut self.has_tcp));
        let tcp = (has_tcp.null_count() > 0).then_some(has_tcp);
        vec![
            (kind::TIME.name, Arc::new(Int64Array::new(time.clone(), None))),
            (kind::SRC_IP.name, Arc::new(columns::ips(std::mem::take(&mut self.src), None))),
            (kind::DST_IP.name, Arc::new(columns::ips(std::mem::take(&mut self.dst), None))),
            (kind::SRC_PORT.name, Arc::new(UInt16Array::new(take(&mut self.src_port), None))),
            (kind::DST_PORT.name, Arc::new(UInt16Array::new(take(&mut self.dst_port), None))),
            (kind::PROTOCOL_.name, Arc::new(UInt8Array::new(protocol, None))),
            (kind::IP_BYTES.name, Arc::new(UInt32Array::new(take(&mut self.ip_bytes), None))),
            (kind::FRAME_BYTES.name, Arc::new(UInt32Array::new(take(&mut self.frame_bytes), None))),
            (kind::PAYLOAD_BYTES.name, Arc::new(UInt32Array::new(take(&mut self.payload_bytes), None))),
            (kind::TCP_FLAGS_.name, Arc::new(UInt8Array::new(take(&mut self.flags), tcp.clone()))),
            (kind::TCP_SEQ.name, Arc::new(UInt32Array::new(take(&mut self.seq), tcp.clone()))),
            (kind::TCP_ACK.name, Arc::new(UInt32Array::new(take(&mut self.ack), tcp.clone()))),
            (kind::TCP_WINDOW.name, Arc::new(UInt16Array::new(take(&mut self.window), tcp))),
            (kind::FAULTS.name, Arc::new(UInt8Array::new(take(&mut self.faults), None))),
        ]
    }

    /// Columns that few packets have a value in; left out where none has.
    fn sparse(&mut self, rows: usize) -> Vec<(&'static str, ArrayRef)> {
        let mut made: Vec<(&'static str, ArrayRef)> = Vec::new();
        let interface = std::mem::take(&mut self.interface);
        if !interface.is_empty() {
            let mut words = WordBuilder::default();
            let mut given = interface.iter().peekable();
            for row in 0..rows {
                let here = given.next_if(|(at, _)| *at == row);
                words.push(here.map(|(_, name)| name.as_ref()));
            }
            made.push((kind::INTERFACE.name, words.finish()));
        }
        let vlans = std::mem::take(&mut self.vlans);
        if !vlans.is_empty() {
            made.push((kind::VLAN.name, vlan_lists(&vlans, rows)));
        }
        let ids: Vec<_> = std::mem::take(&mut self.icmp_ids);
        let fragments = std::mem::take(&mut self.fragments);
        let at = |f: fn(&Fragment) -> u32| fragments.iter().map(move |(row, fragment)| (*row, f(fragment)));
        let narrow = |(row, value): (usize, u32)| (row, value as u16);
        push(&mut made, kind::ICMP_ID, sparse::<UInt16Array, _>(ids.into_iter(), rows));
        push(&mut made, kind::FRAGMENT_ID, sparse::<UInt32Array, _>(at(|f| f.id), rows));
        let offsets = at(|f| u32::from(f.offset)).map(narrow);
        push(&mut made, kind::FRAGMENT_OFFSET, sparse::<UInt16Array, _>(offsets, rows));
        let more = fragments.iter().map(|(row, f)| (*row, f.more));
        push(&mut made, kind::FRAGMENT_MORE, sparse::<BooleanArray, _>(more, rows));
        made
    }
}

fn push<R>(made: &mut Vec<(&'static str, ArrayRef)>, key: Key<R>, array: Option<ArrayRef>) {
    made.extend(array.map(|array| (key.name, array)));
}

fn sparse<A, T>(given: impl Iterator<Item = (usize, T)>, rows: usize) -> Option<ArrayRef>
where
    A: FromIterator<Option<T>> + arrow_array::Array + 'static,
{
    let mut given = given.peekable();
    given.peek()?;
    let each = (0..rows).map(|row| given.next_if(|(at, _)| *at == row).map(|(_, value)| value));
    Some(Arc::new(each.collect::<A>()))
}

fn vlan_lists(vlans: &[(usize, Vec<i64>)], rows: usize) -> ArrayRef {
    let mut given = vlans.iter().peekable();
    let (mut offsets, mut values) = (vec![0], Vec::new());
    for row in 0..rows {
        if let Some((_, ids)) = given.next_if(|(at, _)| *at == row) {
            values.extend_from_slice(ids);
        }
        offsets.push(values.len() as i32);
    }
    columns::int_lists(offsets, values)
}
