//! An index by hashes that are trusted.
//!
//! With ten thousand entries nearly every look-up misses the cache, and waiting for memory was most of what a row cost.
//! Places are open, one behind the other, so that a look-up's place is known from the hash alone:
//! [`Index::reach_for`] has the memory of many fetched at once, which takes hardly longer than for one.

use crate::hash::Hash;

/// What is held under one hash.
#[derive(Clone, Copy)]
struct Place<V> {
    /// Of the hash.
    high: u64,
    low: u32,
    value: V,
}

impl<V: Default> Place<V> {
    fn free() -> Place<V> {
        Place { high: 0, low: 0, value: V::default() }
    }

    #[inline(always)]
    fn key(&self) -> Key {
        Key { high: self.high, low: self.low }
    }

    #[inline(always)]
    fn is_free(&self) -> bool {
        self.key() == Key::NONE
    }
}

/// As much of a hash as tells it from others: 96 bits, so that a place with a number of 32 takes sixteen bytes, and is
/// not in two lines of the cache.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    high: u64,
    low: u32,
}

impl Key {
    const NONE: Key = Key { high: 0, low: 0 };

    #[inline(always)]
    pub fn of(hash: Hash) -> Key {
        Key { high: hash.high, low: hash.low as u32 }
    }
}

/// A number of 28 bits, and in the four above of what type that is which it stands for: looking that up would cost a
/// miss.
// One number also where it is returned: two of different widths go by way of memory, where reading them together waits
// until all that was written before has left the processor.
#[derive(Clone, Copy, Default)]
pub struct Typed(u32);

const TYPE_SHIFT: u32 = 28;

impl Typed {
    #[inline(always)]
    pub fn new(number: u32, of: u8) -> Typed {
        debug_assert!(number < 1 << TYPE_SHIFT && of < 1 << (u32::BITS - TYPE_SHIFT));
        Typed(number | u32::from(of) << TYPE_SHIFT)
    }

    #[inline(always)]
    pub fn number(self) -> u32 {
        self.0 & ((1 << TYPE_SHIFT) - 1)
    }

    /// The type, below 16.
    #[inline(always)]
    pub fn of(self) -> u8 {
        (self.0 >> TYPE_SHIFT) as u8
    }
}

const _: () = assert!(size_of::<Place<Typed>>() == 16);

/// Places for each entry, at least.
const PLACES_EACH: usize = 2;
const PLACES_MIN: usize = 64;
/// Of as many places as are needed, so many times are kept when others went.
const KEPT_TIMES_MAX: usize = 2;

pub struct Index<V> {
    /// A power of two. Those that are free have no hash.
    places: Vec<Place<V>>,
    len: usize,
}

impl<V: Copy + Default> Index<V> {
    /// Bytes of each entry where their number is a power of two; just above one, twice as much.
    pub const ENTRY_BYTES: usize = PLACES_EACH * size_of::<Place<V>>();

    /// Bytes of so many entries at most, as there were never more; while places are doubled, half as much again.
    pub const fn bytes(entries: usize) -> usize {
        places(entries) * size_of::<Place<V>>()
    }

    pub fn new() -> Index<V> {
        Index { places: free(PLACES_MIN), len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where to look first.
    #[inline]
    fn home(&self, key: Key) -> usize {
        key.high as usize & (self.places.len() - 1)
    }

    /// Has the place of each hash fetched into the cache.
    pub fn reach_for(&self, hashes: impl Iterator<Item = Hash>) {
        let last = self.places.len() - 1;
        // The next place as well, where it may be.
        let both = |home: usize| self.places[home].low ^ self.places[(home + 1) & last].low;
        let places = hashes.fold(0, |all, hash| all ^ both(self.home(Key::of(hash))));
        // What is read for nothing would not be read at all.
        std::hint::black_box(places);
    }

    /// Where a hash is, or the free place where it would be.
    #[inline]
    fn at(&self, key: Key) -> usize {
        let mut at = self.home(key);
        // Half of the places at least are free.
        while self.places[at].key() != key && !self.places[at].is_free() {
            at = (at + 1) & (self.places.len() - 1);
        }
        at
    }

    #[inline]
    pub fn find(&mut self, hash: Hash) -> Option<&mut V> {
        let at = self.at(Key::of(hash));
        let place = &mut self.places[at];
        (!place.is_free()).then_some(&mut place.value)
    }

    #[inline]
    pub fn get(&self, hash: Hash) -> Option<V> {
        let place = &self.places[self.at(Key::of(hash))];
        (!place.is_free()).then_some(place.value)
    }

    /// Puts in a hash that is not there.
    pub fn insert(&mut self, hash: Hash, value: V) {
        if self.places.len() < places(self.len + 1) {
            self.rebuild(self.len + 1);
        }
        let Key { high, low } = Key::of(hash);
        self.place(Place { high, low, value });
    }

    fn place(&mut self, place: Place<V>) {
        let at = self.at(place.key());
        self.places[at] = place;
        self.len += 1;
    }

    /// All that is held, in no order.
    pub fn entries(&self) -> impl Iterator<Item = (Key, V)> {
        self.taken().map(|place| (place.key(), place.value))
    }

    pub fn retain(&mut self, stays: impl Fn(&V) -> bool) {
        if self.taken().all(|place| stays(&place.value)) {
            return;
        }
        // From a free place on, so that what stays finds a place that was looked at already, or its own.
        let start = self.places.iter().position(Place::is_free).unwrap_or(0);
        for at in (start..self.places.len()).chain(0..start) {
            let place = std::mem::replace(&mut self.places[at], Place::free());
            if place.is_free() {
                continue;
            }
            self.len -= 1;
            if stays(&place.value) {
                self.place(place);
            }
        }
        if self.places.len() > KEPT_TIMES_MAX * places(self.len) {
            self.rebuild(self.len);
        }
    }

    fn taken(&self) -> impl Iterator<Item = &Place<V>> {
        self.places.iter().filter(|place| !place.is_free())
    }

    /// Makes as many places as so many entries need.
    fn rebuild(&mut self, entries: usize) {
        let old = Index { places: std::mem::replace(&mut self.places, free(places(entries))), len: self.len };
        self.len = 0;
        old.taken().for_each(|place| self.place(*place));
    }
}

impl<V: Copy + Default> Default for Index<V> {
    fn default() -> Self {
        Index::new()
    }
}

/// A power of two, of which so many are half at most.
const fn places(entries: usize) -> usize {
    let places = (entries * PLACES_EACH).next_power_of_two();
    if places < PLACES_MIN { PLACES_MIN } else { places }
}

fn free<V: Copy + Default>(places: usize) -> Vec<Place<V>> {
    vec![Place::free(); places]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // Tests.
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn room_is_given_back() {
        let mut index = Index::<u32>::new();
        let hash = |number: u32| Hash { high: u64::from(number) << 3, low: 1 };
        (0..1000).for_each(|number| index.insert(hash(number), number));
        index.retain(|of| of % 2 == 0);
        assert_eq!(index.places.len(), places(1000), "which may be needed soon");
        index.retain(|of| *of < 40);
        assert_eq!((index.len(), index.places.len()), (20, PLACES_MIN));
        let mut held: Vec<(Key, u32)> = index.entries().collect();
        held.sort_unstable_by_key(|(_, of)| *of);
        let expected: Vec<_> = (0..40).step_by(2).map(|number| (Key::of(hash(number)), number)).collect();
        assert!(held == expected);
        index.retain(|_| false);
        assert!(index.is_empty() && (0..1000).all(|number| index.get(hash(number)).is_none()));
        index.insert(hash(7), 8);
        assert_eq!(index.get(hash(7)), Some(8));
    }

    #[test]
    fn it_holds_what_a_map_holds() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut index, mut map) = (Index::<u32>::new(), HashMap::new());
        for round in 0..20 {
            for _ in 0..500 {
                // Few homes, so that many share one, on both sides of where the places end.
                let hash = Hash { high: random.u64(0..300).wrapping_sub(150), low: random.u64(1..100) };
                let of = random.u32(0..1000);
                if map.insert((hash.high, hash.low), of).is_some() {
                    *index.find(hash).unwrap() = of;
                } else {
                    assert!(index.find(hash).is_none());
                    index.insert(hash, of);
                }
            }
            if round % 3 == 2 {
                map.retain(|_, of| *of % 2 == 0);
                index.retain(|of| of % 2 == 0);
            }
            assert_eq!(index.len(), map.len());
            for ((high, low), of) in &map {
                let hash = Hash { high: *high, low: *low };
                assert_eq!(index.find(hash).copied(), Some(*of));
            }
        }
    }
}
