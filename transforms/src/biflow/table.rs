//! The table of live conversations: found by key, bounded, let go by event time.

use std::collections::{BTreeMap, VecDeque};

use hashbrown::HashTable;
use weir_core::Time;
use weir_spec::kinds::enums::end_reason;

use super::flow::{Flow, Key, Seen};

/// How long an ended connection stays, so that late FINs and ACKs belong to it.
pub const LINGER_NANOS: i64 = 5_000_000_000;
/// Expiry looks at the table once in so much event time.
const TICK_NANOS: i64 = 1_000_000_000;
/// Slots looked at to find one that has been quiet longest, when the table is full.
const EVICT_LOOKS: usize = 64;

/// When conversations end without saying so. In nanoseconds; `None` is never.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    pub idle: Option<i64>,
    /// For established TCP connections.
    pub idle_established: Option<i64>,
    pub active: Option<i64>,
}

impl Timeouts {
    fn of(&self, flow: &Flow) -> Option<i64> {
        if flow.is_established() { self.idle_established } else { self.idle }
    }

    /// When a conversation is to be looked at again: an attempt may turn into a connection.
    fn shortest(&self) -> Option<i64> {
        self.idle.into_iter().chain(self.idle_established).min()
    }

    /// The longest that a conversation's last packet may lie back when it is let go.
    pub fn longest(&self) -> Option<i64> {
        Some(self.idle?.max(self.idle_established?).max(LINGER_NANOS) + 2 * TICK_NANOS)
    }
}

/// A record that is owed, with how far the packets' time had come for what is downstream.
pub enum Owed {
    /// The conversation itself, which is over.
    Slot { slot: u32, reason: u8, seen: i64 },
    /// A part of one that goes on.
    Part(Box<Flow>, i64),
}

#[derive(Default)]
struct Slot {
    flow: Option<Flow>,
    /// Tells a slot's present conversation from an earlier one.
    generation: u32,
}

/// Bytes of a conversation in the table.
pub const SLOT_BYTES: usize = std::mem::size_of::<Slot>();

/// Live conversations, and those owed downstream.
pub struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: foldhash::quality::FixedState,
    timeouts: Timeouts,
    flows_max: usize,
    /// Conversations to look at again, by the tick of event time.
    wheel: BTreeMap<i64, Vec<(u32, u32)>>,
    /// Ended ones, in the order in which their linger runs out.
    lingering: VecDeque<(i64, u32, u32)>,
    /// Event time: the latest packet.
    now: i64,
    /// Event time before the packet that is being added: what may have been promised downstream.
    before: i64,
    next_tick: i64,
    next_id: u64,
    hand: usize,
    owed: VecDeque<Owed>,
    /// After the end: the slots of what was still open, in the order in which it began. A slot number
    /// each, as a million of them come at once.
    ending: std::vec::IntoIter<u32>,
    pub evicted: u64,
}

impl Table {
    pub fn new(timeouts: Timeouts, flows_max: usize) -> Table {
        Table {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            hasher: foldhash::quality::FixedState::with_seed(secret_seed()),
            timeouts,
            flows_max: flows_max.max(1),
            wheel: BTreeMap::new(),
            lingering: VecDeque::new(),
            now: i64::MIN,
            before: i64::MIN,
            next_tick: i64::MIN,
            next_id: 1,
            hand: 0,
            owed: VecDeque::new(),
            ending: Vec::new().into_iter(),
            evicted: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether records are owed.
    pub fn owes(&self) -> bool {
        !self.owed.is_empty() || self.ending.len() > 0
    }

    pub fn hash(&self, key: &Key) -> u64 {
        use std::hash::{BuildHasher, Hasher};
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u128(u128::from_ne_bytes(key.a));
        hasher.write_u128(u128::from_ne_bytes(key.b));
        let ports = u64::from(key.a_port) << 32 | u64::from(key.b_port) << 8 | u64::from(key.protocol);
        hasher.write_u64(ports);
        hasher.write_u64(u64::from(key.context) << 16 | u64::from(key.icmp_id));
        hasher.finish()
    }

    /// Adds a packet to its conversation.
    pub fn add(&mut self, key: &Key, hash: u64, packet: &Seen) {
        self.advance(packet.time);
        let found = self.index.find(hash, |slot| self.key(*slot) == Some(key)).copied();
        let slot = match found {
            Some(slot) if self.is_idle(slot, packet.time) => {
                let reason = self.live(slot).natural_end();
                self.let_go(slot, reason);
                self.open(key, hash, packet)
            }
            Some(slot) if self.live(slot).is_reused_by(packet) => {
                self.let_go(slot, end_reason::END_OF_FLOW);
                self.open(key, hash, packet)
            }
            Some(slot) => {
                self.cut_if_active(slot, packet);
                slot
            }
            None => self.open(key, hash, packet),
        };
        let was_ended = self.live(slot).is_ended();
        self.live(slot).add(packet);
        if !was_ended && self.live(slot).is_ended() && self.timeouts.idle.is_some() {
            let generation = self.slots[slot as usize].generation;
            self.lingering.push_back((self.now.saturating_add(LINGER_NANOS), slot, generation));
        }
    }

    /// How far time had come for a record owed now: what is promised downstream, or its own end.
    fn seen(&self, flow: &Flow) -> i64 {
        match self.timeouts.longest() {
            Some(nanos) => flow.end.max(self.before.saturating_sub(nanos)),
            None => flow.end,
        }
    }

    /// Whether a conversation had been quiet too long before a packet at `time`, to the nanosecond:
    /// expiry itself looks once a second.
    fn is_idle(&mut self, slot: u32, time: i64) -> bool {
        let timeouts = self.timeouts;
        let flow = self.live(slot);
        timeouts.of(flow).is_some_and(|idle| time.saturating_sub(flow.end) >= idle)
    }

    fn key(&self, slot: u32) -> Option<&Key> {
        self.slots[slot as usize].flow.as_ref().map(|flow| &flow.key)
    }

    fn live(&mut self, slot: u32) -> &mut Flow {
        self.slots[slot as usize].flow.as_mut().expect("the index only holds live slots")
    }

    fn open(&mut self, key: &Key, hash: u64, packet: &Seen) -> u32 {
        if self.index.len() >= self.flows_max {
            self.evict();
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.grow();
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        });
        let flow = Flow::new(*key, self.next_id, packet);
        self.next_id += 1;
        self.slots[slot as usize].flow = Some(flow);
        let mut index = std::mem::take(&mut self.index);
        index.insert_unique(hash, slot, |slot| self.key(*slot).map_or(0, |key| self.hash(key)));
        self.index = index;
        self.schedule(slot);
        slot
    }

    /// Room for an eighth more: doubling would leave half of a large table unused.
    fn grow(&mut self) {
        if self.slots.len() == self.slots.capacity() {
            let more = (self.slots.len() / 8).max(1024);
            self.slots.reserve_exact(more);
        }
    }

    /// Puts a conversation on the wheel at the tick in which it may have been idle long enough.
    fn schedule(&mut self, slot: u32) {
        let entry = &self.slots[slot as usize];
        let Some(flow) = &entry.flow else { return };
        let Some(idle) = self.timeouts.shortest() else { return };
        let due = flow.end.max(self.now.saturating_sub(idle)).saturating_add(idle);
        let tick = due.div_euclid(TICK_NANOS) + 1;
        self.wheel.entry(tick).or_default().push((slot, entry.generation));
    }

    /// Cuts a record where a conversation has lasted longer than one may.
    fn cut_if_active(&mut self, slot: u32, packet: &Seen) {
        let Some(active) = self.timeouts.active else { return };
        let flow = self.live(slot);
        let has_packets = flow.sides.iter().any(|s| s.counters.packets > 0);
        if !has_packets || packet.time.saturating_sub(flow.start) < active {
            return;
        }
        let part = Box::new(flow.clone());
        flow.restart(packet.time);
        let seen = self.seen(&part);
        self.owed.push_back(Owed::Part(part, seen));
    }

    /// Moves event time on; whoever has been idle too long is owed from then on.
    pub fn advance(&mut self, to: i64) {
        self.before = self.now;
        if to <= self.now {
            return;
        }
        self.now = to;
        if to < self.next_tick {
            return;
        }
        self.next_tick = (to.div_euclid(TICK_NANOS) + 1).saturating_mul(TICK_NANOS);
        while let Some((due, slot, generation)) = self.lingering.front().copied() {
            if due > to {
                break;
            }
            self.lingering.pop_front();
            self.let_go_if(slot, generation, |flow| flow.is_ended().then(|| flow.natural_end()));
        }
        while let Some(entry) = self.wheel.first_entry() {
            if *entry.key() > to.div_euclid(TICK_NANOS) {
                break;
            }
            for (slot, generation) in entry.remove() {
                self.expire(slot, generation);
            }
        }
    }

    fn expire(&mut self, slot: u32, generation: u32) {
        let (now, timeouts) = (self.now, self.timeouts);
        let idle_too_long = |flow: &Flow| {
            let idle = timeouts.of(flow)?;
            (now.saturating_sub(flow.end) >= idle).then(|| flow.natural_end())
        };
        if !self.let_go_if(slot, generation, idle_too_long) {
            let entry = &self.slots[slot as usize];
            if entry.generation == generation && entry.flow.is_some() {
                self.schedule(slot);
            }
        }
    }

    fn let_go_if(&mut self, slot: u32, generation: u32, why: impl Fn(&Flow) -> Option<u8>) -> bool {
        let entry = &self.slots[slot as usize];
        if entry.generation != generation {
            return false;
        }
        match entry.flow.as_ref().and_then(why) {
            Some(reason) => {
                self.let_go(slot, reason);
                true
            }
            None => false,
        }
    }

    /// Takes a conversation out of the index; its record is owed. The slot is free once it is given.
    fn let_go(&mut self, slot: u32, reason: u8) {
        let Some(key) = self.key(slot).copied() else { return };
        let seen = self.slots[slot as usize].flow.as_ref().map_or(self.now, |flow| self.seen(flow));
        let hash = self.hash(&key);
        if let Ok(entry) = self.index.find_entry(hash, |s| *s == slot) {
            entry.remove();
        }
        self.slots[slot as usize].generation += 1;
        self.owed.push_back(Owed::Slot { slot, reason, seen });
    }

    /// The table is full: of a few, the one that has been quiet longest leaves.
    fn evict(&mut self) {
        let n = self.slots.len();
        let mut oldest: Option<(i64, u32)> = None;
        let mut looked = 0;
        for step in 0..n {
            let at = (self.hand + step) % n;
            if let Some(flow) = &self.slots[at].flow
                && self.is_indexed(at as u32, flow)
            {
                looked += 1;
                oldest = oldest.into_iter().chain([(flow.end, at as u32)]).min();
            }
            if looked == EVICT_LOOKS {
                self.hand = (at + 1) % n;
                break;
            }
        }
        if let Some((_, slot)) = oldest {
            self.evicted += 1;
            self.let_go(slot, end_reason::LACK_OF_RESOURCES);
        }
    }

    fn is_indexed(&self, slot: u32, flow: &Flow) -> bool {
        self.index.find(self.hash(&flow.key), |s| *s == slot).is_some()
    }

    /// Everything is over: the rest is owed, in the order in which the conversations began.
    pub fn finish(&mut self) {
        self.before = self.now;
        let mut live = Vec::with_capacity(self.index.len());
        live.extend(self.index.iter().copied());
        live.sort_unstable_by_key(|slot| self.slots[*slot as usize].flow.as_ref().map(|flow| flow.id));
        self.ending = live.into_iter();
        self.index.clear();
        self.wheel.clear();
        self.lingering.clear();
    }

    /// The next records, at most `n`, each with why it ended.
    pub fn take_owed(&mut self, n: usize) -> Vec<(Flow, u8, i64)> {
        let mut taken = Vec::with_capacity(n.min(self.owed.len() + self.ending.len()));
        while taken.len() < n {
            match self.owed.pop_front() {
                None => match self.ending.next().and_then(|slot| self.slots[slot as usize].flow.take()) {
                    Some(flow) => {
                        let reason = if flow.is_ended() { end_reason::END_OF_FLOW } else { end_reason::FORCED_END };
                        let seen = self.seen(&flow);
                        taken.push((flow, reason, seen));
                    }
                    None => break,
                },
                Some(Owed::Part(flow, seen)) => taken.push((*flow, end_reason::ACTIVE_TIMEOUT, seen)),
                Some(Owed::Slot { slot, reason, seen }) => {
                    if let Some(flow) = self.slots[slot as usize].flow.take() {
                        self.free.push(slot);
                        taken.push((flow, reason, seen));
                    }
                }
            }
        }
        taken
    }

    /// The earliest end that a record may still have, when packets have come to `input`.
    pub fn watermark(&self, input: Time) -> Time {
        match self.timeouts.longest() {
            Some(nanos) => input.minus(nanos),
            None if input == Time::END => input,
            None => Time::START,
        }
    }
}

/// A seed nobody outside knows: hosts on the network choose the keys.
fn secret_seed() -> u64 {
    use std::hash::BuildHasher;
    foldhash::quality::RandomState::default().hash_one(0u8)
}
