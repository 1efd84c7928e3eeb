//! Acknowledgements: the promise to a source, riding on the batch.
//!
//! A source opens a ticket for what it has read. Every batch made from it holds a share. Whoever
//! delivers a share says so; a share that is dropped without a word fails the ticket. When the last
//! share is gone the source is told.

use std::sync::Arc;

use crate::sync::checked::{self, AtomicBool, Mutex, Ordering, lock};

/// What became of everything that was read under a ticket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Delivered,
    /// At least one share was lost, rejected without a reader, or given up.
    Failed,
}

/// The source's end of a ticket. Called from whichever task lets go last: must not block.
pub trait Origin: Send + Sync {
    /// `seq` is the source's own position: an offset, a sequence number.
    fn settled(&self, seq: u64, verdict: Verdict);
}

struct Ticket {
    /// Not the checker's, which holds no trait objects; what is checked is the ticket's own count.
    origin: Arc<dyn Origin>,
    seq: u64,
    failed: AtomicBool,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // All shares are gone, and each synchronised with this through the reference count.
        let failed = self.failed.load(Ordering::Relaxed);
        let verdict = if failed { Verdict::Failed } else { Verdict::Delivered };
        self.origin.settled(self.seq, verdict);
    }
}

/// One share of a ticket.
struct Share {
    ticket: checked::Arc<Ticket>,
    delivered: bool,
}

impl Drop for Share {
    fn drop(&mut self) {
        if !self.delivered {
            self.ticket.failed.store(true, Ordering::Relaxed);
        }
    }
}

/// The shares that a batch holds. Empty for input that cannot be replayed.
#[derive(Default)]
#[must_use = "dropping acks without `delivered` fails their tickets"]
pub struct Acks {
    shares: Vec<Share>,
}

impl Acks {
    /// For rows that no source waits for.
    pub fn none() -> Acks {
        Acks::default()
    }

    /// Opens a ticket and gives its first share.
    pub fn new(origin: Arc<dyn Origin>, seq: u64) -> Acks {
        let ticket = checked::Arc::new(Ticket { origin, seq, failed: AtomicBool::new(false) });
        Acks { shares: vec![Share { ticket, delivered: false }] }
    }

    pub fn is_empty(&self) -> bool {
        self.shares.is_empty()
    }

    /// How many tickets it holds shares of.
    pub fn len(&self) -> usize {
        self.shares.len()
    }

    /// Shares of the same tickets: for another reader, or another part of the rows.
    pub fn split(&self) -> Acks {
        let share = |s: &Share| Share { ticket: s.ticket.clone(), delivered: false };
        Acks { shares: self.shares.iter().map(share).collect() }
    }

    /// Takes over the shares of rows that are joined to these. Two shares of one ticket become one,
    /// so what is held grows with tickets and not with batches.
    pub fn join(&mut self, mut other: Acks) {
        for mut share in std::mem::take(&mut other.shares) {
            let same = |s: &Share| checked::Arc::ptr_eq(&s.ticket, &share.ticket);
            match self.shares.iter().rev().take(JOIN_LOOK_BACK).any(same) {
                true => share.delivered = true,
                false => self.shares.push(share),
            }
        }
    }

    /// Everything they stand for has been delivered.
    pub fn delivered(mut self) {
        self.shares.iter_mut().for_each(|share| share.delivered = true);
    }

    /// Makes one ticket of many, so that splitting costs the same however many there are.
    pub fn bundle(self) -> Acks {
        if self.shares.len() <= 1 {
            return self;
        }
        Acks::new(Arc::new(Bundle { inner: Mutex::new(Some(self)) }), 0)
    }
}

/// How far `join` looks for a share of the same ticket; batches of one ticket come close together.
const JOIN_LOOK_BACK: usize = 8;

/// Passes the verdict of one ticket on to many.
struct Bundle {
    inner: Mutex<Option<Acks>>,
}

impl Origin for Bundle {
    fn settled(&self, _seq: u64, verdict: Verdict) {
        let Some(acks) = lock(&self.inner).take() else { return };
        match verdict {
            Verdict::Delivered => acks.delivered(),
            Verdict::Failed => drop(acks),
        }
    }
}

/// An origin that counts verdicts, for sources that only want to know the sum, and for tests.
#[derive(Default)]
pub struct Tally {
    counts: Mutex<(u64, u64)>,
}

impl Tally {
    /// Tickets delivered and failed so far.
    pub fn counts(&self) -> (u64, u64) {
        *lock(&self.counts)
    }
}

impl Origin for Tally {
    fn settled(&self, _seq: u64, verdict: Verdict) {
        let mut counts = lock(&self.counts);
        match verdict {
            Verdict::Delivered => counts.0 += 1,
            Verdict::Failed => counts.1 += 1,
        }
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn opened() -> (Arc<Tally>, Acks) {
        let tally = Arc::new(Tally::default());
        let acks = Acks::new(tally.clone(), 7);
        (tally, acks)
    }

    #[test]
    fn a_ticket_is_delivered_when_its_last_share_is() {
        let (tally, acks) = opened();
        let other = acks.split();
        acks.delivered();
        assert_eq!(tally.counts(), (0, 0));
        other.delivered();
        assert_eq!(tally.counts(), (1, 0));
    }

    #[test]
    fn a_share_dropped_without_a_word_fails_it() {
        let (tally, acks) = opened();
        let other = acks.split();
        drop(other);
        acks.delivered();
        assert_eq!(tally.counts(), (0, 1));
    }

    proptest! {
        /// However shares are split, joined and bundled: every ticket is settled exactly once, and
        /// as delivered if and only if no share of it was dropped without a word.
        #[test]
        fn every_ticket_is_settled_once(ops in prop::collection::vec((0u8..5, any::<prop::sample::Index>()), 0..60)) {
            let tallies: Vec<_> = (0..3).map(|_| Arc::new(Tally::default())).collect();
            let mut held: Vec<(Acks, Vec<usize>)> =
                tallies.iter().enumerate().map(|(i, t)| (Acks::new(t.clone(), 0), vec![i])).collect();
            let mut failed = [false; 3];
            for (op, at) in ops {
                if held.is_empty() { break; }
                let at = at.index(held.len());
                match op {
                    0 => { let copy = (held[at].0.split(), held[at].1.clone()); held.push(copy); }
                    1 => held.swap_remove(at).0.delivered(),
                    2 => held.swap_remove(at).1.iter().for_each(|i| failed[*i] = true),
                    3 if held.len() > 1 => {
                        let (acks, of) = held.swap_remove(at);
                        held[0].0.join(acks);
                        held[0].1.extend(of);
                    }
                    _ => { let (acks, of) = held.swap_remove(at); held.push((acks.bundle(), of)); }
                }
            }
            held.into_iter().for_each(|(acks, _)| acks.delivered());
            for (tally, failed) in tallies.iter().zip(failed) {
                prop_assert_eq!(tally.counts(), if failed { (0, 1) } else { (1, 0) });
            }
        }
    }
}

#[cfg(all(test, model))]
mod model {
    use super::*;

    #[test]
    fn two_tasks_letting_go_at_once_settle_once() {
        loom::model(|| {
            let tally = Arc::new(Tally::default());
            let acks = Acks::new(tally.clone(), 0);
            let other = acks.split();
            let thread = loom::thread::spawn(move || drop(other));
            acks.delivered();
            thread.join().unwrap();
            assert_eq!(tally.counts(), (0, 1));
        });
    }

    #[test]
    fn a_bundle_settles_each_of_its_tickets_once() {
        loom::model(|| {
            let tally = Arc::new(Tally::default());
            let mut acks = Acks::new(tally.clone(), 0);
            acks.join(Acks::new(tally.clone(), 1));
            let bundle = acks.bundle();
            let other = bundle.split();
            let thread = loom::thread::spawn(move || other.delivered());
            bundle.delivered();
            thread.join().unwrap();
            assert_eq!(tally.counts(), (2, 0));
        });
    }
}
