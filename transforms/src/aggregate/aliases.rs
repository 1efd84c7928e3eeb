//! Which context a hash belongs to.
//!
//! With ten thousand contexts nearly every look-up misses the cache, and waiting for memory was most of what
//! a row cost. Places are open, one behind the other, so that a look-up's place is known from the hash alone:
//! [`Aliases::reach_for`] has the memory of many rows fetched at once, which takes hardly longer than for one.

use super::context::Id;
use super::hash::Hash;

/// One hash of a context.
#[derive(Clone, Copy)]
pub struct Alias {
    pub hash: Hash,
    /// The context, as whoever puts it in says.
    pub of: Id,
    /// The bucket in which it was last used, by its number.
    pub used: u32,
}

/// In [`Alias::of`]: nobody is here.
const FREE: Id = Id::MAX;
/// Places for each hash, at least.
const PLACES_EACH: usize = 2;
const PLACES_MIN: usize = 64;
/// Bytes of each hash, with the places that are free; just after they were doubled, twice as much.
pub const ALIAS_BYTES: usize = PLACES_EACH * size_of::<Alias>();

pub struct Aliases {
    /// A power of two.
    places: Vec<Alias>,
    len: usize,
}

impl Aliases {
    pub fn new() -> Aliases {
        Aliases { places: free(PLACES_MIN), len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Where to look first.
    #[inline]
    fn home(&self, hash: Hash) -> usize {
        hash.high as usize & (self.places.len() - 1)
    }

    /// Has the place of each hash fetched into the cache.
    pub fn reach_for(&self, hashes: &[Hash]) {
        let last = self.places.len() - 1;
        // The next place as well, where it may be.
        let both = |home: usize| self.places[home].of ^ self.places[(home + 1) & last].of;
        let places = hashes.iter().fold(0, |all, hash| all ^ both(self.home(*hash)));
        // What is read for nothing would not be read at all.
        std::hint::black_box(places);
    }

    #[inline]
    pub fn find(&mut self, hash: Hash) -> Option<&mut Alias> {
        let mut at = self.home(hash);
        // Half of the places at least are free.
        loop {
            let alias = &self.places[at];
            if alias.hash == hash && alias.of != FREE {
                return Some(&mut self.places[at]);
            }
            if alias.of == FREE {
                return None;
            }
            at = (at + 1) & (self.places.len() - 1);
        }
    }

    /// Puts in a hash that is not there.
    pub fn insert(&mut self, alias: Alias) {
        if (self.len + 1) * PLACES_EACH > self.places.len() {
            self.rebuild(self.places.len() * 2, |_| true);
        }
        self.place(alias);
    }

    fn place(&mut self, alias: Alias) {
        let mut at = self.home(alias.hash);
        while self.places[at].of != FREE {
            at = (at + 1) & (self.places.len() - 1);
        }
        self.places[at] = alias;
        self.len += 1;
    }

    pub fn retain(&mut self, stays: impl Fn(&Alias) -> bool) {
        let left = self.places.iter().filter(|alias| alias.of != FREE && stays(alias)).count();
        if left < self.len {
            self.rebuild((left * PLACES_EACH + 1).next_power_of_two().max(PLACES_MIN), stays);
        }
    }

    fn rebuild(&mut self, places: usize, stays: impl Fn(&Alias) -> bool) {
        let old = std::mem::replace(&mut self.places, free(places));
        self.len = 0;
        old.into_iter().filter(|alias| alias.of != FREE && stays(alias)).for_each(|alias| self.place(alias));
    }
}

fn free(places: usize) -> Vec<Alias> {
    vec![Alias { hash: Hash { high: 0, low: 0 }, of: FREE, used: 0 }; places]
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn it_holds_what_a_map_holds() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut aliases, mut map) = (Aliases::new(), HashMap::new());
        for round in 0..20 {
            for _ in 0..500 {
                // Few homes, so that many share one.
                let hash = Hash { high: random.u64(0..300), low: random.u64(0..100) };
                let of = random.u32(0..1000);
                if map.insert((hash.high, hash.low), of).is_some() {
                    aliases.find(hash).unwrap().of = of;
                } else {
                    assert!(aliases.find(hash).is_none());
                    aliases.insert(Alias { hash, of, used: round });
                }
            }
            if round % 3 == 2 {
                map.retain(|_, of| *of % 2 == 0);
                aliases.retain(|alias| alias.of % 2 == 0);
            }
            assert_eq!(aliases.len(), map.len());
            for ((high, low), of) in &map {
                let hash = Hash { high: *high, low: *low };
                assert_eq!(aliases.find(hash).map(|alias| alias.of), Some(*of));
            }
        }
    }
}
