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
    fn part(&self) -> Part {
        Part { high: self.high, low: self.low }
    }

    #[inline(always)]
    fn is_free(&self) -> bool {
        self.part() == Part::NONE
    }
}

/// As much of a hash as tells it from others: 96 bits, so that a place with a number of 32 takes sixteen bytes, and is
/// not in two lines of the cache.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Part {
    high: u64,
    low: u32,
}

impl Part {
    const NONE: Part = Part { high: 0, low: 0 };

    #[inline(always)]
    pub fn of(hash: Hash) -> Part {
        Part { high: hash.high, low: hash.low as u32 }
    }
}

const _: () = assert!(size_of::<Place<u32>>() == 16);

/// Places for each entry, at least.
const PLACES_EACH: usize = 2;
const PLACES_MIN: usize = 64;
/// Times as many places as are needed stay, for what comes next.
const FREE_MAX: usize = 2;

pub struct Index<V> {
    /// A power of two. Those that are free have no hash.
    places: Vec<Place<V>>,
    len: usize,
}

impl<V: Copy + Default> Index<V> {
    /// Bytes of each entry, with the places that are free; just after they were doubled, twice as much.
    pub const ENTRY_BYTES: usize = PLACES_EACH * size_of::<Place<V>>();

    /// Bytes of so many entries, with the places that are free.
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
    fn home(&self, part: Part) -> usize {
        part.high as usize & (self.places.len() - 1)
    }

    /// Has the place of each hash fetched into the cache.
    pub fn reach_for(&self, hashes: impl Iterator<Item = Hash>) {
        let last = self.places.len() - 1;
        // The next place as well, where it may be.
        let both = |home: usize| self.places[home].low ^ self.places[(home + 1) & last].low;
        let places = hashes.fold(0, |all, hash| all ^ both(self.home(Part::of(hash))));
        // What is read for nothing would not be read at all.
        std::hint::black_box(places);
    }

    /// Where a hash is, or the free place where it would be.
    #[inline]
    fn at(&self, part: Part) -> usize {
        let mut at = self.home(part);
        // Half of the places at least are free.
        while self.places[at].part() != part && !self.places[at].is_free() {
            at = (at + 1) & (self.places.len() - 1);
        }
        at
    }

    #[inline]
    pub fn find(&mut self, hash: Hash) -> Option<&mut V> {
        let at = self.at(Part::of(hash));
        let place = &mut self.places[at];
        (!place.is_free()).then_some(&mut place.value)
    }

    #[inline]
    pub fn get(&self, hash: Hash) -> Option<V> {
        let place = &self.places[self.at(Part::of(hash))];
        (!place.is_free()).then_some(place.value)
    }

    /// Puts in a hash that is not there.
    pub fn insert(&mut self, hash: Hash, value: V) {
        if self.places.len() < places(self.len + 1) {
            self.rebuild(self.len + 1);
        }
        let Part { high, low } = Part::of(hash);
        self.place(Place { high, low, value });
    }

    fn place(&mut self, place: Place<V>) {
        let at = self.at(place.part());
        self.places[at] = place;
        self.len += 1;
    }

    /// All that is held, in no order.
    pub fn entries(&self) -> impl Iterator<Item = (Part, V)> {
        self.taken().map(|place| (place.part(), place.value))
    }

    pub fn retain(&mut self, stays: impl Fn(&V) -> bool) {
        if self.taken().all(|place| stays(&place.value)) {
            return;
        }
        // From a free place on, so that what stays moves to where it was or nearer to its home, past nobody.
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
        if self.places.len() > FREE_MAX * places(self.len) {
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
