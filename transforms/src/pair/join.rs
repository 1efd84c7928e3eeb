//! Halves of conversations as rows.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, UInt8Array, UInt16Array};
use arrow_select::interleave::interleave;
use weir_core::columns::absent;
use weir_spec::kinds::enums::observer;
use weir_spec::kinds::flow as kind;
use weir_spec::schema::Repr;
use weir_spec::{Field, Schema};

use super::half::Half;
use crate::ends::{column, told_by_dst, turned};
use crate::key;

/// What is read to make rows, whoever reads these.
pub const READS: &[&str] = &[kind::END.name];

/// Ports that systems give to clients, from here on (Linux; IANA's begin at 49152).
const CLIENT_PORT_MIN: u16 = 32768;

/// What conversations have in common that become one when clients' ports do not count.
pub const ALIKE: &[&str] = &[
    kind::SRC_IP.name,
    kind::DST_IP.name,
    kind::DST_PORT.name,
    kind::DST_ORIGINAL_IP.name,
    kind::DST_ORIGINAL_PORT.name,
    kind::PROTOCOL_.name,
    kind::STATE_.name,
    kind::CONNECT_ERROR.name,
    kind::SRC_HOST.name,
    kind::SRC_CONTAINER.name,
    kind::SRC_NETNS.name,
    kind::SRC_PID.name,
    kind::DST_HOST.name,
    kind::DST_CONTAINER.name,
    kind::DST_NETNS.name,
    kind::DST_PID.name,
];

/// What a conversation with a client's port has, and several of them together do not.
const OF_ONE: [&str; 4] = [kind::SRC_PORT.name, kind::SRC_ID.name, kind::COMMUNITY_ID.name, kind::FLOW_ID.name];

/// A row among the batches, as it came or with its ends turned round; for `interleave`.
type At = (usize, usize);

#[derive(Default)]
struct Conversation {
    /// By the end that told them, in order of time.
    src: Vec<(i64, At)>,
    dst: Vec<(i64, At)>,
    /// The row that is surest about who called whom.
    surest: At,
    /// Whether its client's port does not count.
    is_sum: bool,
}

impl Conversation {
    /// Of the halves of one key.
    fn new(halves: &[Half], batches: usize) -> Conversation {
        let Some(surest) = halves.iter().min_by_key(|half| (half.doubt, half.is_dst)) else {
            return Conversation::default();
        };
        let at = |half: &Half| {
            let is_turned = half.is_src_low != surest.is_src_low;
            (half.batch as usize + if is_turned { batches } else { 0 }, half.row as usize)
        };
        let mut all = Conversation { surest: at(surest), ..Conversation::default() };
        for half in halves {
            let is_turned = half.is_src_low != surest.is_src_low;
            let side = if half.is_dst != is_turned { &mut all.dst } else { &mut all.src };
            side.push((half.time, at(half)));
        }
        all
    }

    /// The last row of each end, `src` first where it told any.
    fn last(&self) -> impl DoubleEndedIterator<Item = At> {
        [self.src.last(), self.dst.last()].into_iter().flatten().map(|(_, at)| *at)
    }

    /// The same with the end whose row came last first.
    fn latest(&self) -> impl Iterator<Item = At> + use<> {
        let (src, dst) = (self.src.last().copied(), self.dst.last().copied());
        let is_dst_later = dst.map(|(time, _)| time) > src.map(|(time, _)| time);
        let both = if is_dst_later { [dst, src] } else { [src, dst] };
        both.into_iter().flatten().map(|(_, at)| at)
    }

    fn rows(&self) -> impl Iterator<Item = At> {
        self.src.iter().chain(&self.dst).map(|(_, at)| *at)
    }

    fn observer(&self) -> u8 {
        match (self.src.is_empty(), self.dst.is_empty()) {
            (false, false) => observer::BOTH,
            (_, true) => observer::SRC,
            (true, _) => observer::DST,
        }
    }

    fn add(&mut self, other: Conversation) {
        self.src.extend(other.src);
        self.dst.extend(other.dst);
    }

    fn sort(&mut self) {
        self.src.sort_unstable();
        self.dst.sort_unstable();
    }
}

/// All conversations of an interval, and the rows that they are made of.
pub struct Joined {
    schema: Arc<Schema>,
    /// Of each column, what it is made of.
    sources: Vec<Vec<ArrayRef>>,
    conversations: Vec<Conversation>,
}

impl Joined {
    /// Joins halves. In the order of their keys, so that it does not matter how rows came in batches.
    pub fn new(
        batches: &[RecordBatch],
        mut halves: Vec<Half>,
        schema: &Arc<Schema>,
        sums_client_ports: bool,
    ) -> Joined {
        halves.sort_unstable();
        let of_one = halves.chunk_by(|half, next| half.key == next.key);
        let sorted = |halves: &[Half]| {
            let mut halves = halves.to_vec();
            halves.sort_unstable_by_key(|half| (half.time, half.batch, half.row));
            Conversation::new(&halves, batches.len())
        };
        let mut conversations: Vec<Conversation> = of_one.map(sorted).collect();
        if sums_client_ports {
            conversations = without_client_ports(conversations, batches);
        }
        let source =
            |field: &Field| sources(batches, told_by_dst(&field.name).as_deref().unwrap_or(&field.name), field);
        Joined { schema: schema.clone(), sources: schema.fields.iter().map(source).collect(), conversations }
    }

    pub fn len(&self) -> usize {
        self.conversations.len()
    }

    /// The event time of each: that of its last row.
    pub fn times(&self, range: Range<usize>) -> impl Iterator<Item = i64> {
        let time = |all: &Conversation| all.src.iter().chain(&all.dst).map(|(time, _)| *time).max();
        self.conversations[range].iter().map(move |all| time(all).unwrap_or_default())
    }

    /// Some of the conversations as columns.
    pub fn columns(&self, range: Range<usize>) -> Vec<ArrayRef> {
        let all = &self.conversations[range];
        self.schema.fields.iter().zip(&self.sources).map(|(field, sources)| one(all, field, sources)).collect()
    }
}

fn one(all: &[Conversation], field: &Field, sources: &[ArrayRef]) -> ArrayRef {
    let name = field.name.as_str();
    if name == kind::OBSERVER_.name {
        return Arc::new(all.iter().map(|all| Some(all.observer())).collect::<UInt8Array>());
    }
    if name == kind::INITIATED.name || name == kind::UNATTRIBUTED.name {
        return absent(field.repr, all.len());
    }
    let rows_of = |side: &[(i64, At)]| side.iter().map(|(_, at)| *at).collect::<Vec<_>>();
    if told_by_dst(name).is_some() {
        // Of what `dst` alone told, it is no second count.
        return fold(all, sources, field, |all| match all.observer() {
            observer::BOTH => rows_of(&all.dst),
            _ => Vec::new(),
        });
    }
    if is_count(name) {
        // Who sends knows what was sent again: what one end cannot know is the other one's.
        return fold(all, sources, field, |all| {
            let src = rows_of(&all.src);
            let is_told = src.iter().any(|(array, row)| sources[*array].is_valid(*row));
            if is_told { src } else { rows_of(&all.dst) }
        });
    }
    if [kind::START.name, kind::END.name, kind::APPROXIMATE.name].contains(&name) {
        return fold(all, sources, field, |all| all.rows().collect());
    }
    let picked: Vec<At> = all.iter().map(|all| pick(name, all, sources)).collect();
    let arrays: Vec<&dyn Array> = sources.iter().map(|array| array.as_ref()).collect();
    match interleave(&arrays, &picked) {
        Ok(column) if OF_ONE.contains(&name) => without(&column, |row| all[row].is_sum),
        Ok(column) => column,
        // They are of one representation, and every half has a row there.
        Err(error) => unreachable!("pair: {error}"),
    }
}

/// A column of every batch as it came, and then of every batch with its ends turned round.
fn sources(batches: &[RecordBatch], name: &str, field: &Field) -> Vec<ArrayRef> {
    let other = turned(name);
    let came = batches.iter().map(|rows| column(rows, Some(name), field));
    came.chain(batches.iter().map(|rows| column(rows, other.as_deref(), field))).collect()
}

/// Makes one of those that only differ in their clients' ports.
fn without_client_ports(all: Vec<Conversation>, batches: &[RecordBatch]) -> Vec<Conversation> {
    let schema = kind::FLOW.schema();
    let of = |name: &str| schema.field(name).map(|field| (field, sources(batches, name, field)));
    let columns: Vec<(&Field, Vec<ArrayRef>)> = ALIKE.iter().filter_map(|name| of(name)).collect();
    let Some((_, ports)) = of(kind::SRC_PORT.name) else { return all };
    let mut sums: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    let mut kept: Vec<Conversation> = Vec::new();
    for mut conversation in all {
        let (array, row) = conversation.surest;
        let port = ports[array].as_any().downcast_ref::<UInt16Array>();
        if port.is_none_or(|ports| ports.value(row) < CLIENT_PORT_MIN) {
            kept.push(conversation);
            continue;
        }
        conversation.is_sum = true;
        let mut bytes = vec![conversation.observer()];
        for (field, arrays) in &columns {
            let (array, row) = pick(&field.name, &conversation, arrays);
            key::append(&arrays[array], &field.ty, row, &mut bytes);
        }
        match sums.get(&bytes) {
            Some(at) => kept[*at].add(conversation),
            None => {
                sums.insert(bytes, kept.len());
                kept.push(conversation);
            }
        }
    }
    kept.iter_mut().filter(|all| all.is_sum).for_each(Conversation::sort);
    kept
}

/// The row whose value counts: of an end, its own word; of how it ended, the last one; else that of `src`. The
/// other end's where there is none.
fn pick(name: &str, all: &Conversation, sources: &[ArrayRef]) -> At {
    let is_there = |(array, row): &At| sources[*array].is_valid(*row);
    let found = match name {
        n if n == kind::INITIATOR_.name => Some(all.surest),
        n if n == kind::STATE_.name || n == kind::END_REASON_.name => all.latest().find(is_there),
        n if n.starts_with("dst.") => all.last().rev().find(is_there),
        _ => all.last().find(is_there),
    };
    found.unwrap_or(all.surest)
}

/// Whether a column counts what went one way.
fn is_count(name: &str) -> bool {
    name.starts_with("sent_") || name.starts_with("received_") || name == kind::FRAGMENTS.name
}

/// A value of several rows' values: sums of counts, all flags, the first and the last time.
fn fold(
    all: &[Conversation],
    sources: &[ArrayRef],
    field: &Field,
    rows: impl Fn(&Conversation) -> Vec<At>,
) -> ArrayRef {
    let join: fn(i64, i64) -> i64 = match field.name.as_str() {
        n if n == kind::START.name => i64::min,
        n if n == kind::END.name => i64::max,
        _ => i64::saturating_add,
    };
    let rows = all.iter().map(rows);
    match field.repr {
        Repr::I64 => Arc::new(reduced(rows, sources, Int64Array::value, join).collect::<Int64Array>()),
        Repr::F64 => Arc::new(reduced(rows, sources, Float64Array::value, |a, b| a + b).collect::<Float64Array>()),
        Repr::U8 => Arc::new(reduced(rows, sources, UInt8Array::value, |a, b| a | b).collect::<UInt8Array>()),
        Repr::Bool => Arc::new(reduced(rows, sources, BooleanArray::value, |a, b| a | b).collect::<BooleanArray>()),
        repr => absent(repr, all.len()),
    }
}

/// One value of those of each group of rows; nothing where none of them has one.
fn reduced<A: Array + 'static, V>(
    groups: impl Iterator<Item = Vec<At>>,
    sources: &[ArrayRef],
    value: fn(&A, usize) -> V,
    join: fn(V, V) -> V,
) -> impl Iterator<Item = Option<V>> {
    let arrays: Vec<Option<&A>> = sources.iter().map(|array| array.as_any().downcast_ref()).collect();
    groups.map(move |rows| {
        let there = rows.into_iter().filter_map(|(array, row)| {
            arrays[array].filter(|array| array.is_valid(row)).map(|array| value(array, row))
        });
        there.reduce(join)
    })
}

/// A column without the values of some rows.
fn without(column: &ArrayRef, is_one: impl Fn(usize) -> bool) -> ArrayRef {
    let mask = BooleanArray::from_iter((0..column.len()).map(|row| Some(is_one(row))));
    match arrow_select::nullif::nullif(column.as_ref(), &mask) {
        Ok(column) => column,
        // The mask has a bit for each row.
        Err(error) => unreachable!("pair: {error}"),
    }
}
