//! What becomes of the rows of a batch: which context each is of, and its values into their bucket.

use std::collections::BTreeSet;
use std::ops::Range;

use arrow_array::{Array, BooleanArray, RecordBatch, StringArray};
use weir_core::batch::{Batch, mask};
use weir_core::eval::text::word;
use weir_core::hash::Hash;
use weir_core::ledger::Counts;
use weir_core::rows::{Encoded, PASSING};
use weir_core::tags::{self, END};
use weir_core::{Out, Rows};
use weir_spec::kinds::enums::metric_kind;

use super::bucket::{self, Bucket};
use super::context::{Contexts, Id, Parts, Ref};
use super::interval::{Span, number};
use super::known::Entries;
use super::metrics::{Heads, Metrics, class};
use super::numerics::Sample;
use super::{Aggregation, units};

/// Rows whose memory is fetched at once.
const REACH_ROWS: usize = 256;
/// Bytes of tags in order beyond which no more rows are put in order before their turn.
const SETS_BYTES: usize = 64 << 10;
/// Tags that there is room for before any is looked at.
const TAGS_ROOM: usize = 32;
/// A rate below stands for more samples than a `u32` counts, and is a mistake.
const SAMPLE_RATE_MIN: f64 = 1.0 / u32::MAX as f64;

/// Of rows that name no host, which is not the empty one.
const NO_HOST: Hash = Hash::NONE;

/// What becomes of the rows of a batch.
#[derive(Default)]
pub struct Verdicts {
    /// Why each row is refused; nothing where all are taken.
    refused: Vec<Option<&'static str>>,
    rows: usize,
}

impl Verdicts {
    /// So many rows, which are taken.
    pub fn reset(&mut self, rows: usize) {
        self.refused.clear();
        self.rows = rows;
    }

    fn refuse(&mut self, row: usize, why: &'static str) {
        self.refused.resize(self.rows, None);
        self.refused[row] = Some(why);
    }

    #[inline]
    fn is_taken(&self, row: usize) -> bool {
        self.refused.get(row).is_none_or(Option::is_none)
    }
}

impl Aggregation {
    /// The context of every row; `false` if the rows have none.
    pub fn find_contexts(&mut self, rows: &Rows, metrics: &Metrics, times: &[i64]) -> bool {
        self.ids.clear();
        if let Some(rows) = rows.encoded() {
            self.find_entries(rows, metrics, times);
            return true;
        }
        let Some(heads) = Heads::new(rows) else { return false };
        self.find_hashes(&heads, metrics, times);
        self.forget_replaced();
        true
    }

    /// Of rows by their entries. What was met before is known.
    fn find_entries(&mut self, rows: &Encoded, metrics: &Metrics, times: &[i64]) {
        let mut known = self.known.take(rows.dictionary());
        let mut heads = EntryHeads { rows, last: None };
        for (chunk, entries) in rows.entries_of().chunks(REACH_ROWS).enumerate() {
            let start = chunk * REACH_ROWS;
            let fresh = self.fresh(metrics, &known, &mut heads, start, entries);
            // Borrowed: a copy that is read just after it was written is waited for as long as memory is.
            let mut fresh = fresh.iter().peekable();
            for (row, entry) in (start..).zip(entries.iter().copied()) {
                let ordered = fresh.next_if(|(at, _)| *at == row).map(|(_, ordered)| ordered);
                if let Some(id) = known.find(entry).filter(|id| !self.is_replaced(*id)) {
                    self.ids.push(id);
                    continue;
                }
                let Some(head) = heads.of(entry, row) else {
                    let id = self.refuse(row, "no_context");
                    self.put_id(id);
                    continue;
                };
                let is_passing = entry >= PASSING;
                let id = match is_passing {
                    true => self.find_hash(metrics, &head, times[row]),
                    false => self.uncommon(metrics, &head, None, ordered, None, times[row]),
                };
                if let Some(id) = id.filter(|_| !is_passing) {
                    known.learn(entry, id);
                }
                self.put_id(id);
            }
        }
        self.known.put(known);
        self.forget_replaced();
    }

    /// Of the rows from `start` on with these entries, those that are not known, each with its tags in order. What says
    /// that they are new is fetched from memory for all of them at once: waiting for it is most of what a new context
    /// costs. Those that are left out are put in order when their turn comes.
    fn fresh(
        &mut self,
        metrics: &Metrics,
        known: &Entries,
        heads: &mut EntryHeads,
        start: usize,
        entries: &[u32],
    ) -> Vec<(usize, Ordered)> {
        let mut fresh = Vec::new();
        // Those of the rows before are settled.
        self.sets.clear();
        let mut last = None;
        for (row, entry) in (start..).zip(entries.iter().copied()) {
            if entry >= PASSING || known.find(entry).is_some() || last == Some(entry) {
                continue;
            }
            if self.sets.len() >= SETS_BYTES {
                break;
            }
            if let Some(head) = heads.of(entry, row) {
                fresh.push((row, self.ordered(&head, metrics.context_kind(row))));
            }
            last = Some(entry);
        }
        self.contexts.reach_for_new(fresh.iter().map(|(_, ordered)| ordered.hash));
        fresh
    }

    /// Whether an entry that leads to this context is to be looked at again.
    #[inline(always)]
    fn is_replaced(&self, id: Id) -> bool {
        !self.replaced.is_empty() && self.replaced.contains(&id)
    }

    /// No entry and no hash leads to what was replaced from here on.
    fn forget_replaced(&mut self) {
        if !self.replaced.is_empty() {
            let replaced = std::mem::take(&mut self.replaced);
            self.known.retain(|id| !replaced.contains(&id));
            self.contexts.forget_aliases(&replaced);
        }
    }

    /// The context of a row that has no entry to be known by; absent if the row is refused.
    fn find_hash(&mut self, metrics: &Metrics, head: &Head, time: i64) -> Option<Id> {
        let kind = metrics.context_kind(head.row);
        let hash = self.joined(head, kind, head.tags());
        let found = self.contexts.find(hash, number(time, self.interval));
        match found.filter(|found| !self.is_replaced(found.id())) {
            Some(found) if found.kind() == kind => Some(found.id()),
            found => self.uncommon(metrics, head, Some(hash), None, found, time),
        }
    }

    /// The context of the next row; of one that is refused any.
    fn put_id(&mut self, id: Option<Id>) {
        self.ids.push(id.unwrap_or(0));
    }

    /// A row that is refused has no context.
    fn refuse(&mut self, row: usize, why: &'static str) -> Option<Id> {
        self.verdicts.refuse(row, why);
        None
    }

    /// Of plain rows: for some at a time their hashes, then where these lead to.
    fn find_hashes(&mut self, heads: &Heads, metrics: &Metrics, times: &[i64]) {
        let hosts = self.host_hashes(heads);
        let (mut hashes, mut kinds) = ([Hash::default(); REACH_ROWS], [0; REACH_ROWS]);
        let mut spans = Span::default();
        for (chunk, times) in times.chunks(REACH_ROWS).enumerate() {
            let start = chunk * REACH_ROWS;
            let (hashes, kinds) = (&mut hashes[..times.len()], &mut kinds[..times.len()]);
            (start..).zip(&mut *kinds).for_each(|(row, kind)| *kind = metrics.context_kind(row));
            self.hash(heads, start, kinds, &hosts, hashes);
            self.contexts.reach_for(hashes);
            for (row, ((hash, kind), time)) in (start..).zip(hashes.iter().zip(&*kinds).zip(times)) {
                let found = self.contexts.find(*hash, spans.number(*time, self.interval));
                let id = match found.filter(|found| !self.is_replaced(found.id())) {
                    // As nearly always.
                    Some(found) if found.kind() == *kind => Some(found.id()),
                    found => self.uncommon(metrics, &Head { heads, at: row, row }, Some(*hash), None, found, *time),
                };
                self.put_id(id);
            }
        }
    }

    /// The context of one row whose hash, if it has one, is new or leads to one of another kind; absent if the
    /// row is refused. Its tags may be in order already.
    #[cold]
    fn uncommon(
        &mut self,
        metrics: &Metrics,
        head: &Head,
        hash: Option<Hash>,
        ordered: Option<&Ordered>,
        mut found: Option<Ref>,
        time: i64,
    ) -> Option<Id> {
        let kind = metrics.context_kind(head.row);
        if found.is_none_or(|found| self.gives_way(found, kind)) {
            let sets_bytes = self.sets.len();
            let its_own;
            let ordered = match ordered {
                Some(ordered) => ordered,
                None => {
                    its_own = self.ordered(head, kind);
                    &its_own
                }
            };
            // It may be known under another order of its tags.
            found = found.or_else(|| self.contexts.known(ordered.hash));
            let old = found.filter(|found| self.gives_way(*found, kind)).map(Ref::id);
            if found.is_none() || old.is_some() {
                // What is not taken in takes no name, and no room.
                if let Some(why) = head.refusal().or_else(|| refusal(metrics, head.row)) {
                    self.sets.truncate(sets_bytes);
                    return self.refuse(head.row, why);
                }
            }
            found = self.lead(hash, ordered, head, kind, time, old);
            self.sets.truncate(sets_bytes);
            self.replaced.extend(old.filter(|old| found.is_some_and(|found| found.id() != *old)));
        }
        match found {
            Some(found) if found.kind() == kind => Some(found.id()),
            Some(_) => self.refuse(head.row, "kind_conflict"),
            None => self.refuse(head.row, "contexts_full"),
        }
    }

    /// Whether a context is of another kind, and may be replaced.
    fn gives_way(&self, found: Ref, kind: u8) -> bool {
        found.kind() != kind && !self.is_in_use(found.id())
    }

    /// Of every host that the rows name, behind that of rows that name none.
    fn host_hashes(&self, heads: &Heads) -> Vec<Hash> {
        let named = heads.hosts.and_then(|hosts| hosts.values().as_any().downcast_ref::<StringArray>());
        let hash = |host: Option<&str>| self.contexts.hashing.bytes(host.unwrap_or("").as_bytes());
        [NO_HOST].into_iter().chain(named.into_iter().flatten().map(hash)).collect()
    }

    /// The hashes of rows from `start` on, of whose contexts these are the kinds.
    fn hash(&self, heads: &Heads, start: usize, kinds: &[u8], hosts: &[Hash], into: &mut [Hash]) {
        let hashing = &self.contexts.hashing;
        let no_tags = hashing.bytes(&[]);
        // Rows of one client share a set.
        let mut last = (usize::MAX, no_tags);
        for (row, (hash, kind)) in (start..).zip(into.iter_mut().zip(kinds)) {
            let name = hashing.bytes(heads.names.value(row).as_bytes());
            let tags = heads.set(row).map_or(no_tags, |(tags, set)| {
                if last.0 != set {
                    last = (set, hashing.bytes(tags.bytes(set)));
                }
                last.1
            });
            *hash = hashing.join(class(*kind), name, hosts[heads.host(row)], tags);
        }
    }

    /// Whether values of a context are still to be given out.
    #[cold]
    fn is_in_use(&self, id: Id) -> bool {
        self.buckets.values().any(|bucket| bucket.seen(id).is_some())
            || self.closing.as_ref().is_some_and(|closing| closing.has(id))
            || self.passed.has(id)
            // Of this batch, which is in no bucket yet.
            || self.ids.iter().enumerate().any(|(row, of)| *of == id && self.verdicts.is_taken(row))
    }

    /// The hash of one row with that set of tags.
    fn joined(&self, head: &Head, kind: u8, tags: &[u8]) -> Hash {
        let hashing = &self.contexts.hashing;
        let host = head.host().map_or(NO_HOST, |host| hashing.bytes(host.as_bytes()));
        hashing.join(class(kind), hashing.bytes(head.name().as_bytes()), host, hashing.bytes(tags))
    }

    /// A row's tags in order, without duplicates and what the filter takes, behind the other sets.
    fn ordered(&mut self, head: &Head, kind: u8) -> Ordered {
        let mut tags = Vec::with_capacity(TAGS_ROOM);
        // By their first bytes first, which nearly always tell two tags apart without a call.
        tags.extend(tags::each_bytes(head.tags()).map(|tag| (first_bytes(tag), tag)));
        if !self.filter.is_empty() {
            tags.retain(|(_, tag)| std::str::from_utf8(tag).is_ok_and(|tag| self.filter.keeps(head.name(), tag)));
        }
        tags.sort_unstable();
        tags.dedup();
        let start = self.sets.len();
        for (_, tag) in tags {
            self.sets.extend_from_slice(tag);
            self.sets.push(END);
        }
        Ordered { hash: self.joined(head, kind, &self.sets[start..]), set: start..self.sets.len() }
    }

    /// The context that a row leads to from now on: that of what is known, or a new one, also in the place of `old`, of
    /// whose context rows of another kind come now.
    fn lead(
        &mut self,
        hash: Option<Hash>,
        ordered: &Ordered,
        head: &Head,
        kind: u8,
        time: i64,
        old: Option<Id>,
    ) -> Option<Ref> {
        let (name, host) = (head.name(), head.host());
        let unit = head.unit().or_else(|| units::of(name));
        let at = (time, number(time, self.interval));
        let parts = Parts { kind, name, host, unit, tags: &self.sets[ordered.set.clone()] };
        self.contexts.add(hash, ordered.hash, at, &parts, old)
    }

    /// Every row's values into its bucket.
    pub fn take_in(&mut self, metrics: &Metrics, times: &[i64]) {
        let numbers = self.contexts.numbers();
        let mut current: Option<(i64, Bucket)> = None;
        let mut spans = Span::default();
        // Of the samples in the current bucket.
        let mut bytes_max = 0;
        for (row, time) in times.iter().copied().enumerate() {
            if !self.verdicts.is_taken(row) {
                continue;
            }
            if let Some(stamp) = metrics.stamp(row) {
                if let Err(why) = self.pass(metrics, row, stamp, time) {
                    self.verdicts.refuse(row, why);
                }
                continue;
            }
            let start = spans.start(time, self.interval);
            if current.as_ref().is_none_or(|(at, _)| *at != start) {
                if let Some((at, bucket)) = current.take() {
                    self.buckets.insert(at, bucket);
                }
                let mut bucket = self.buckets.remove(&start).unwrap_or_else(|| Bucket::new(start));
                bucket.reserve(numbers);
                let others: usize = self.buckets.values().map(Bucket::bytes).sum();
                bytes_max = self.samples_bytes_max.saturating_sub(others);
                current = Some((start, bucket));
            }
            let Some((_, bucket)) = &mut current else { continue };
            if row % REACH_ROWS == 0 {
                bucket.reach_for(self.ids[row..].iter().take(REACH_ROWS));
            }
            let mut fold = Fold { bucket, bytes_max, contexts: &mut self.contexts, counts: &self.counts };
            if let Err(why) = fold.row(metrics, row, self.ids[row], time) {
                self.verdicts.refuse(row, why);
            }
        }
        if let Some((at, bucket)) = current {
            self.buckets.insert(at, bucket);
        }
    }

    /// A row with a timestamp of its own passes the buckets, as the Agent lets it: a count as what came in
    /// ten seconds, without its sample rate.
    fn pass(&mut self, metrics: &Metrics, row: usize, timestamp: i64, arrived: i64) -> Result<(), &'static str> {
        let kind = metrics.kinds[row];
        if !matches!(kind, metric_kind::COUNTER | metric_kind::GAUGE) {
            return Err("timestamped");
        }
        let finite = metrics.values(row).iter().filter(|value| value.is_finite());
        let before = self.passed.len();
        finite.for_each(|value| self.passed.push(self.ids[row], timestamp, *value));
        self.contexts.see(self.ids[row], arrived);
        if self.passed.len() > before { Ok(()) } else { Err("not_finite") }
    }

    /// Counts the rows that were refused, under their reasons. What is left was taken in.
    pub fn drop_refused(&self, batch: Batch, out: &mut Out) -> Option<Batch> {
        if self.verdicts.refused.is_empty() {
            return Some(batch);
        }
        let mut batch = batch;
        let mut left: Vec<Option<&'static str>> = self.verdicts.refused.clone();
        let reasons: BTreeSet<&'static str> = left.iter().flatten().copied().collect();
        for why in reasons {
            let keep: BooleanArray = mask(left.len(), |row| left[row] != Some(why));
            batch = out.keep(batch, &keep, why);
            left.retain(|refused| *refused != Some(why));
        }
        batch.unless_empty()
    }
}

/// A row's tags in order, each once.
struct Ordered {
    /// Of them, and of all else that makes a context.
    hash: Hash,
    /// Where they stand among the sets of the rows at hand.
    set: Range<usize>,
}

/// The heads of entries. Those that follow each other are mostly of one part of the dictionary.
struct EntryHeads<'a> {
    rows: &'a Encoded,
    last: Option<(&'a RecordBatch, Heads<'a>)>,
}

impl EntryHeads<'_> {
    /// That of a row with this entry; absent if those of its part have no names.
    fn of(&mut self, entry: u32, row: usize) -> Option<Head<'_>> {
        let (entries, at) = self.rows.find(entry);
        if self.last.as_ref().is_none_or(|(before, _)| !std::ptr::eq(*before, entries)) {
            self.last = Heads::new(entries).map(|heads| (entries, heads));
        }
        self.last.as_ref().map(|(_, heads)| Head { heads, at, row })
    }
}

/// As a number that has their order.
fn first_bytes(tag: &[u8]) -> u64 {
    if let Some(first) = tag.first_chunk() {
        return u64::from_be_bytes(*first);
    }
    let number = tag.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    number.unbounded_shl(u64::BITS - 8 * tag.len() as u32)
}

/// Which of some heads a row has.
struct Head<'a> {
    heads: &'a Heads<'a>,
    at: usize,
    row: usize,
}

impl<'a> Head<'a> {
    fn name(&self) -> &'a str {
        self.heads.names.value(self.at)
    }

    fn host(&self) -> Option<&'a str> {
        word(self.heads.hosts?, self.at)
    }

    fn unit(&self) -> Option<&'a str> {
        word(self.heads.units?, self.at)
    }

    /// As they came, each with its end.
    fn tags(&self) -> &'a [u8] {
        self.heads.set(self.at).map_or(&[], |(tags, set)| tags.bytes(set))
    }

    /// Why no row of it is taken in.
    fn refusal(&self) -> Option<&'static str> {
        self.name().is_empty().then_some("no_context")
    }
}

/// Why nothing of a row is taken in, whatever was before it.
fn refusal(metrics: &Metrics, row: usize) -> Option<&'static str> {
    let kind = metrics.kinds[row];
    let is_stamped = metrics.stamp(row).is_some();
    if is_stamped && !matches!(kind, metric_kind::COUNTER | metric_kind::GAUGE) {
        return Some("timestamped");
    }
    if kind == metric_kind::SET {
        return metrics.members(row).next().is_none().then_some("not_finite");
    }
    if !is_stamped && is_rate_refused(kind, metrics.rate(row)) {
        return Some("sample_rate");
    }
    (!metrics.values(row).iter().any(|value| value.is_finite())).then_some("not_finite")
}

/// Whether a sample rate is no weight.
fn is_rate_refused(kind: u8, rate: f64) -> bool {
    let is_weight = rate.is_finite() && rate >= SAMPLE_RATE_MIN;
    match kind {
        metric_kind::GAUGE | metric_kind::GAUGE_DELTA | metric_kind::DISTRIBUTION => false,
        metric_kind::HISTOGRAM | metric_kind::TIMING => !is_weight && rate != 0.0,
        _ => !is_weight,
    }
}

/// What a sample counts for, where its rate is not refused: the Agent's histograms take a rate of zero for one, its
/// sketches whatever is out of range.
fn weight(kind: u8, rate: f64) -> f64 {
    let is_one = match kind {
        metric_kind::DISTRIBUTION => !(rate > 0.0 && rate <= 1.0),
        _ => rate == 0.0,
    };
    if is_one { 1.0 } else { 1.0 / rate.max(SAMPLE_RATE_MIN) }
}

/// Calls with every value that is finite; how many are.
#[inline]
fn each_finite(values: &[f64], mut take: impl FnMut(f64)) -> usize {
    let mut count = 0;
    for value in values.iter().copied().filter(|value| value.is_finite()) {
        count += 1;
        take(value);
    }
    count
}

/// Where the values of rows go.
struct Fold<'a> {
    bucket: &'a mut Bucket,
    /// Of the samples in it.
    bytes_max: usize,
    contexts: &'a mut Contexts,
    counts: &'a Counts,
}

impl Fold<'_> {
    /// Takes in all that is finite of a row; otherwise why nothing is.
    #[inline]
    fn row(&mut self, metrics: &Metrics, row: usize, id: Id, time: i64) -> Result<(), &'static str> {
        let (kind, rate) = (metrics.kinds[row], metrics.rate(row));
        if kind == metric_kind::SET {
            return self.members(metrics, row, id, time);
        }
        if rate != 1.0 && is_rate_refused(kind, rate) {
            return Err("sample_rate");
        }
        let values = metrics.values(row);
        let taken = match kind {
            // In this order, so that the last digit is the Agent's.
            metric_kind::COUNTER => each_finite(values, |value| self.bucket.count(id, time, value * (1.0 / rate))),
            metric_kind::GAUGE => {
                let taken = each_finite(values, |value| self.bucket.set(id, time, value));
                self.remember_gauge(id);
                taken
            }
            metric_kind::GAUGE_DELTA => {
                let taken = each_finite(values, |value| {
                    let before = self.bucket.number(id).unwrap_or(self.contexts.gauge(id));
                    self.bucket.set(id, time, before + value);
                });
                self.remember_gauge(id);
                taken
            }
            _ if self.bucket.bytes() + values.len() * bucket::SAMPLE_BYTES > self.bytes_max => {
                return Err("samples_full");
            }
            _ => {
                let weight = weight(kind, rate);
                each_finite(values, |value| self.bucket.sample(id, time, Sample { value, weight }))
            }
        };
        if taken == 0 {
            return Err("not_finite");
        }
        if taken < values.len() {
            self.counts.add_noted("values_not_finite", (values.len() - taken) as u64);
        }
        Ok(())
    }

    /// For those that say by how much they change in the next interval.
    fn remember_gauge(&mut self, id: Id) {
        if let Some(value) = self.bucket.number(id).filter(|value| value.is_finite()) {
            self.contexts.set_gauge(id, value);
        }
    }

    /// All members of a row, or nothing.
    fn members(&mut self, metrics: &Metrics, row: usize, id: Id, time: i64) -> Result<(), &'static str> {
        let members = metrics.members(row).count();
        if members == 0 {
            return Err("not_finite");
        }
        if self.bucket.bytes() + members * bucket::MEMBER_BYTES > self.bytes_max {
            return Err("samples_full");
        }
        for member in metrics.members(row) {
            self.bucket.member(id, time, self.contexts.hashing.bytes(member.as_bytes()).high);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn tags_by_their_first_bytes_are_in_their_order(mut tags: Vec<Vec<u8>>, shared in "[a\0]{0,9}") {
            let others: Vec<_> = tags.iter().map(|tag| [shared.as_bytes(), tag].concat()).collect();
            tags.extend(others);
            let mut by_first: Vec<(u64, &[u8])> = tags.iter().map(|tag| (first_bytes(tag), tag.as_slice())).collect();
            by_first.sort_unstable();
            let by_first: Vec<Vec<u8>> = by_first.into_iter().map(|(_, tag)| tag.to_vec()).collect();
            tags.sort_unstable();
            prop_assert_eq!(by_first, tags);
        }
    }
}
