//! What came in one interval, by context.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use weir_core::Acks;

use super::context::Id;
use super::numerics::Sample;

/// Samples and members, each with the context it is of.
#[derive(Default)]
struct Log {
    ids: Vec<Id>,
    samples: Vec<Sample>,
}

/// Bytes of one sample in the log, and of one set's member.
pub const SAMPLE_BYTES: usize = size_of::<Id>() + size_of::<Sample>();
pub const MEMBER_BYTES: usize = size_of::<Member>() * 8 / 7;
/// Bytes of each context in each open bucket.
pub const SLOT_BYTES: usize = size_of::<Slot>();

/// What one context has in the interval, in one place: each is a line of the cache.
#[derive(Clone, Copy)]
struct Slot {
    /// The sum of a counter, the last value of a gauge, the members of a set.
    number: f64,
    /// When the last value came; [`NEVER`] if none did.
    seen: i64,
}

const NEVER: i64 = i64::MIN;

struct Member {
    id: Id,
    hash: u64,
}

pub struct Bucket {
    pub start: i64,
    pub acks: Acks,
    /// By context.
    slots: Vec<Slot>,
    log: Log,
    members: HashTable<Member>,
}

impl Bucket {
    pub fn new(start: i64) -> Bucket {
        Bucket { start, acks: Acks::none(), slots: Vec::new(), log: Log::default(), members: HashTable::new() }
    }

    /// Bytes that grow with the samples.
    pub fn bytes(&self) -> usize {
        self.log.ids.len() * SAMPLE_BYTES + self.members.len() * MEMBER_BYTES
    }

    /// Makes room for contexts up to this number.
    pub fn reserve(&mut self, numbers: usize) {
        if self.slots.len() < numbers {
            self.slots.resize(numbers, Slot { number: 0.0, seen: NEVER });
        }
    }

    /// Has what these contexts have fetched from memory, all at once.
    pub fn reach_for<'a>(&self, ids: impl Iterator<Item = &'a Id>) {
        let seen = ids.fold(0, |all, id| all ^ self.slots[*id as usize].seen);
        // What is read for nothing would not be read at all.
        std::hint::black_box(seen);
    }

    fn at(&mut self, id: Id, time: i64) -> &mut f64 {
        let slot = &mut self.slots[id as usize];
        slot.seen = slot.seen.max(time);
        &mut slot.number
    }

    pub fn count(&mut self, id: Id, time: i64, value: f64) {
        *self.at(id, time) += value;
    }

    pub fn set(&mut self, id: Id, time: i64, value: f64) {
        *self.at(id, time) = value;
    }

    pub fn sample(&mut self, id: Id, time: i64, sample: Sample) {
        self.at(id, time);
        self.log.ids.push(id);
        self.log.samples.push(sample);
    }

    pub fn member(&mut self, id: Id, time: i64, hash: u64) {
        self.at(id, time);
        let of = |member: &Member| member.hash ^ u64::from(member.id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let member = Member { id, hash };
        let entry = self.members.entry(of(&member), |m| m.id == id && m.hash == hash, of);
        if let Entry::Vacant(vacant) = entry {
            vacant.insert(member);
            *self.at(id, time) += 1.0;
        }
    }

    /// The number of a context, if one came.
    pub fn number(&self, id: Id) -> Option<f64> {
        self.slots.get(id as usize).filter(|slot| slot.seen != NEVER).map(|slot| slot.number)
    }

    /// When the last value of a context came.
    pub fn seen(&self, id: Id) -> Option<i64> {
        self.slots.get(id as usize).map(|slot| slot.seen).filter(|seen| *seen != NEVER)
    }

    /// Puts the samples in the order of their contexts; those of one context stay in order of arrival.
    pub fn close(&mut self) -> Samples {
        let log = std::mem::take(&mut self.log);
        self.members = HashTable::new();
        let contexts = log.ids.iter().max().map_or(0, |id| *id as usize + 1);
        // Counted and placed, which is linear; a stable sort is a third of closing a bucket.
        let mut ends = vec![0u32; contexts + 1];
        log.ids.iter().for_each(|id| ends[*id as usize + 1] += 1);
        (1..ends.len()).for_each(|at| ends[at] += ends[at - 1]);
        let mut next = ends.clone();
        let mut samples = vec![Sample { value: 0.0, weight: 0.0 }; log.samples.len()];
        for (id, sample) in log.ids.iter().zip(&log.samples) {
            let place = &mut next[*id as usize];
            samples[*place as usize] = *sample;
            *place += 1;
        }
        Samples { ends, samples }
    }
}

/// Samples by context.
#[derive(Default)]
pub struct Samples {
    /// Where each context's begin, and one more for the end.
    ends: Vec<u32>,
    samples: Vec<Sample>,
}

impl Samples {
    pub fn of(&mut self, id: Id) -> &mut [Sample] {
        let id = id as usize;
        match (self.ends.get(id), self.ends.get(id + 1)) {
            (Some(from), Some(to)) => &mut self.samples[*from as usize..*to as usize],
            _ => &mut [],
        }
    }
}
