//! Which context an entry of a source's dictionary is of: nothing of its row is looked at again.

use super::context::Id;

/// Dictionaries that entries are known of. A source has one, and begins another when that is full of what is no more.
const DICTIONARIES_MAX: usize = 2;
/// Entries of each that are known. Those beyond are looked at each time.
const ENTRIES_MAX: usize = 1 << 18;
/// Bytes that all take at most, with the room that growing leaves.
pub const BYTES_MAX: usize = DICTIONARIES_MAX * ENTRIES_MAX * size_of::<Id>();

/// For an entry whose context is not known.
const UNKNOWN: Id = Id::MAX;

/// The contexts of a dictionary's entries.
#[derive(Default)]
pub struct Entries {
    dictionary: u64,
    contexts: Vec<Id>,
}

impl Entries {
    #[inline(always)]
    pub fn find(&self, entry: u32) -> Option<Id> {
        self.contexts.get(entry as usize).copied().filter(|id| *id != UNKNOWN)
    }

    pub fn learn(&mut self, entry: u32, id: Id) {
        if entry as usize >= ENTRIES_MAX {
            return;
        }
        if self.contexts.len() <= entry as usize {
            // Room for entries that come soon, but none for more than there may be.
            let room = (entry as usize + 1).next_power_of_two().min(ENTRIES_MAX);
            self.contexts.reserve_exact(room - self.contexts.len());
            self.contexts.resize(entry as usize + 1, UNKNOWN);
        }
        self.contexts[entry as usize] = id;
    }
}

/// Those of every dictionary, the one that was used last at the end.
#[derive(Default)]
pub struct Known(Vec<Entries>);

impl Known {
    /// What is known of a dictionary's entries, until it is put back.
    pub fn take(&mut self, dictionary: u64) -> Entries {
        match self.0.iter().position(|entries| entries.dictionary == dictionary) {
            Some(at) => self.0.remove(at),
            None => Entries { dictionary, contexts: Vec::new() },
        }
    }

    pub fn put(&mut self, entries: Entries) {
        if self.0.len() == DICTIONARIES_MAX {
            self.0.remove(0);
        }
        self.0.push(entries);
    }

    /// Forgets the entries that no longer lead to their context.
    pub fn retain(&mut self, stays: impl Fn(Id) -> bool) {
        let all = self.0.iter_mut().flat_map(|entries| &mut entries.contexts);
        all.filter(|id| **id != UNKNOWN && !stays(**id)).for_each(|id| *id = UNKNOWN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_known_by_entry_until_they_are_no_more() {
        let mut known = Known::default();
        let mut entries = known.take(7);
        entries.learn(3, 30);
        entries.learn(0, 10);
        known.put(entries);
        known.put(known_other());
        known.retain(|id| id != 30);
        let entries = known.take(7);
        assert_eq!([0, 1, 3, 9].map(|entry| entries.find(entry)), [Some(10), None, None, None]);
    }

    fn known_other() -> Entries {
        let mut entries = Known::default().take(8);
        entries.learn(0, 5);
        entries
    }

    #[test]
    fn the_dictionary_that_was_used_longest_ago_goes() {
        let mut known = Known::default();
        for dictionary in 0..=DICTIONARIES_MAX as u64 {
            let mut entries = known.take(dictionary);
            entries.learn(0, 1);
            known.put(entries);
        }
        assert_eq!(known.take(0).find(0), None);
        assert_eq!(known.take(1).find(0), Some(1));
    }
}
