//! What becomes of the rows of a batch: which context each is of, and its values into their bucket.

use std::collections::BTreeSet;
use std::ops::Range;

use arrow_array::{Array, BooleanArray, StringArray};
use arrow_buffer::ScalarBuffer;
use weir_core::Out;
use weir_core::batch::{Batch, mask};
use weir_core::eval::text::word;
use weir_core::ledger::Counts;
use weir_core::tags::END;
use weir_spec::kinds::enums::metric_kind;

use super::bucket::{self, Bucket};
use super::context::{Contexts, Found, Id, Parts};
use super::hash::Hash;
use super::interval::Span;
use super::metrics::{Metrics, class};
use super::numerics::Sample;
use super::{Aggregation, units};

/// Rows whose memory is fetched at once.
const REACH_ROWS: usize = 256;
/// A rate below stands for more samples than a `u32` counts, and is a mistake.
const SAMPLE_RATE_MIN: f64 = 1.0 / u32::MAX as f64;

/// What becomes of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Taken,
    Dropped(&'static str),
}

impl Aggregation {
    /// The context of every row: for some rows at a time their hashes, then where these lead to.
    pub fn find_contexts(&mut self, metrics: &Metrics, times: &ScalarBuffer<i64>) {
        let rows = metrics.names.len();
        let named = self.host_hashes(metrics);
        let mut hashes = Vec::with_capacity(REACH_ROWS);
        let mut spans = Span::default();
        self.ids.clear();
        for start in (0..rows).step_by(REACH_ROWS) {
            hashes.clear();
            self.hash(metrics, start..rows.min(start + REACH_ROWS), &named, &mut hashes);
            self.contexts.reach_for(hashes.iter().map(|(hash, _)| *hash));
            for (row, (hash, host)) in (start..).zip(hashes.iter().copied()) {
                let bucket = spans.number(times[row], self.interval);
                match self.context_of(metrics, row, (hash, host), (times[row], bucket)) {
                    Ok(id) => self.ids.push(id),
                    Err(why) => {
                        self.verdicts[row] = Verdict::Dropped(why);
                        self.ids.push(0);
                    }
                }
            }
        }
    }

    /// The context of one row; otherwise why it has none.
    #[inline]
    fn context_of(
        &mut self,
        metrics: &Metrics,
        row: usize,
        (hash, host): (Hash, Hash),
        at: (i64, u32),
    ) -> Result<Id, &'static str> {
        let kind = metrics.context_kind(row);
        let mut found = match self.contexts.find(hash, at.1) {
            Found::Context(id, other) => Some((id, other)),
            Found::Unknown => None,
        };
        if found.is_none_or(|found| self.gives_way(found, kind)) {
            // What is not taken in takes no name, and no room.
            if let Some(why) = refusal(metrics, row) {
                return Err(why);
            }
            if found.is_none() {
                // It may be known under another order of its tags.
                found = self.new_context(metrics, row, hash, host, at, None);
            }
            if let Some((old, _)) = found.filter(|found| self.gives_way(*found, kind)) {
                found = self.new_context(metrics, row, hash, host, at, Some(old));
            }
        }
        match found {
            Some((id, other)) if other == kind => Ok(id),
            Some(_) => Err("kind_conflict"),
            None => Err("contexts_full"),
        }
    }

    /// Whether a context is of another kind, and may be replaced.
    #[inline]
    fn gives_way(&self, (id, other): (Id, u8), kind: u8) -> bool {
        other != kind && !self.is_in_use(id)
    }

    /// Of every host that the rows name.
    fn host_hashes(&self, metrics: &Metrics) -> Vec<Hash> {
        let named = metrics.hosts.and_then(|hosts| hosts.values().as_any().downcast_ref::<StringArray>());
        let hash = |host: Option<&str>| self.contexts.hashing.bytes(host.unwrap_or("").as_bytes());
        named.into_iter().flatten().map(hash).collect()
    }

    /// The hash of each row, and that of its host.
    fn hash(&self, metrics: &Metrics, rows: Range<usize>, named: &[Hash], into: &mut Vec<(Hash, Hash)>) {
        let hashing = &self.contexts.hashing;
        let no_host = Hash { high: 0, low: 0 };
        let no_tags = hashing.bytes(&[]);
        // Rows of one client share a set.
        let mut last = (usize::MAX, no_tags);
        for row in rows {
            let name = hashing.bytes(metrics.names.value(row).as_bytes());
            let host = metrics.hosts.filter(|hosts| !hosts.is_null(row));
            let host = host.map_or(no_host, |hosts| named[hosts.keys().value(row) as usize]);
            let tags = metrics.set(row).map_or(no_tags, |(tags, set)| {
                if last.0 != set {
                    last = (set, hashing.bytes(tags.bytes(set)));
                }
                last.1
            });
            into.push((hashing.join(class(metrics.context_kind(row)), name, host, tags), host));
        }
    }

    /// Whether values of a context are still to be given out.
    #[cold]
    fn is_in_use(&self, id: Id) -> bool {
        self.buckets.values().any(|bucket| bucket.seen(id).is_some())
            || self.closing.as_ref().is_some_and(|closing| closing.has(id))
            || self.passed.has(id)
            // Of this batch, which is in no bucket yet.
            || self.ids.iter().zip(&self.verdicts).any(|(of, verdict)| *of == id && *verdict == Verdict::Taken)
    }

    /// A hash that was not seen before, or of whose context, `old`, rows of another kind come now: its tags in
    /// order, without duplicates and what the filter takes.
    fn new_context(
        &mut self,
        metrics: &Metrics,
        row: usize,
        hash: Hash,
        host: Hash,
        at: (i64, u32),
        old: Option<Id>,
    ) -> Option<(Id, u8)> {
        let name = metrics.names.value(row);
        let mut tags: Vec<&str> = metrics.set(row).map(|(tags, set)| tags.tags(set).collect()).unwrap_or_default();
        if !self.filter.is_empty() {
            tags.retain(|tag| self.filter.keeps(name, tag));
        }
        tags.sort_unstable();
        tags.dedup();
        let set: Vec<u8> = tags.iter().flat_map(|tag| tag.bytes().chain([END])).collect();
        let hashing = &self.contexts.hashing;
        let kind = metrics.context_kind(row);
        let canonical = hashing.join(class(kind), hashing.bytes(name.as_bytes()), host, hashing.bytes(&set));
        let host = metrics.hosts.and_then(|hosts| word(hosts, row));
        let unit = metrics.units.and_then(|units| word(units, row)).or_else(|| units::of(name));
        self.contexts.add(hash, canonical, at, &Parts { kind, name, host, unit, tags: &tags }, old)
    }

    /// Every row's values into its bucket.
    pub fn take_in(&mut self, metrics: &Metrics, times: &ScalarBuffer<i64>) {
        let numbers = self.contexts.numbers();
        let mut current: Option<(i64, Bucket)> = None;
        let mut spans = Span::default();
        // Of the samples in the current bucket.
        let mut bytes_max = 0;
        for row in 0..times.len() {
            if self.verdicts[row] != Verdict::Taken {
                continue;
            }
            if let Some(stamp) = metrics.stamp(row) {
                self.verdicts[row] = self.pass(metrics, row, stamp, times[row]);
                continue;
            }
            let start = spans.start(times[row], self.interval);
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
            self.verdicts[row] =
                fold(bucket, metrics, row, (self.ids[row], times[row]), bytes_max, &self.contexts, &self.counts);
            let is_gauge = matches!(metrics.kinds[row], metric_kind::GAUGE | metric_kind::GAUGE_DELTA);
            if is_gauge
                && self.verdicts[row] == Verdict::Taken
                && let Some(value) = bucket.number(self.ids[row]).filter(|value| value.is_finite())
            {
                self.contexts.set_gauge(self.ids[row], value);
            }
        }
        if let Some((at, bucket)) = current {
            self.buckets.insert(at, bucket);
        }
    }

    /// A row with a timestamp of its own passes the buckets, as the Agent lets it: a count as what came in
    /// ten seconds, without its sample rate.
    fn pass(&mut self, metrics: &Metrics, row: usize, timestamp: i64, arrived: i64) -> Verdict {
        let kind = metrics.kinds[row];
        if !matches!(kind, metric_kind::COUNTER | metric_kind::GAUGE) {
            return Verdict::Dropped("timestamped");
        }
        let finite = metrics.values(row).iter().filter(|value| value.is_finite());
        let before = self.passed.len();
        finite.for_each(|value| self.passed.push(self.ids[row], timestamp, *value));
        self.contexts.see(self.ids[row], arrived);
        match self.passed.len() > before {
            true => Verdict::Taken,
            false => Verdict::Dropped("not_finite"),
        }
    }

    /// Counts the rows that were refused, under their reasons. What is left was taken in.
    pub fn drop_refused(&self, batch: Batch, out: &mut Out) -> Option<Batch> {
        let reasons = self.verdicts.iter().filter_map(|verdict| match verdict {
            Verdict::Dropped(why) => Some(*why),
            Verdict::Taken => None,
        });
        let reasons: BTreeSet<&'static str> = reasons.collect();
        if reasons.is_empty() {
            return Some(batch);
        }
        let mut verdicts: Vec<Verdict> = self.verdicts.clone();
        let mut batch = batch;
        for why in reasons {
            let keep: BooleanArray = mask(verdicts.len(), |row| verdicts[row] != Verdict::Dropped(why));
            batch = out.keep(batch, &keep, why);
            verdicts.retain(|verdict| *verdict != Verdict::Dropped(why));
        }
        if batch.is_empty() {
            batch.acks.delivered();
            return None;
        }
        Some(batch)
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

/// A row's values into a bucket.
fn fold(
    bucket: &mut Bucket,
    metrics: &Metrics,
    row: usize,
    (id, time): (Id, i64),
    bytes_max: usize,
    contexts: &Contexts,
    counts: &Counts,
) -> Verdict {
    let kind = metrics.kinds[row];
    if kind == metric_kind::SET {
        // All of a row, or nothing.
        if bucket.bytes() + metrics.members(row).count() * bucket::MEMBER_BYTES > bytes_max {
            return Verdict::Dropped("samples_full");
        }
        let mut any = false;
        for member in metrics.members(row) {
            bucket.member(id, time, contexts.hashing.bytes(member.as_bytes()).high);
            any = true;
        }
        return if any { Verdict::Taken } else { Verdict::Dropped("not_finite") };
    }
    let rate = metrics.rate(row);
    if is_rate_refused(kind, rate) {
        return Verdict::Dropped("sample_rate");
    }
    let values = metrics.values(row);
    let is_sampled = matches!(kind, metric_kind::HISTOGRAM | metric_kind::TIMING | metric_kind::DISTRIBUTION);
    if is_sampled && bucket.bytes() + values.len() * bucket::SAMPLE_BYTES > bytes_max {
        return Verdict::Dropped("samples_full");
    }
    let mut taken = 0;
    for value in values.iter().copied().filter(|value| value.is_finite()) {
        taken += 1;
        match kind {
            metric_kind::COUNTER if rate == 1.0 => bucket.count(id, time, value),
            // In this order, so that the last digit is the Agent's.
            metric_kind::COUNTER => bucket.count(id, time, value * (1.0 / rate)),
            metric_kind::GAUGE => bucket.set(id, time, value),
            metric_kind::GAUGE_DELTA => bucket.set(id, time, bucket.number(id).unwrap_or(contexts.gauge(id)) + value),
            _ => bucket.sample(id, time, Sample { value, weight: weight(kind, rate) }),
        }
    }
    if taken == 0 {
        return Verdict::Dropped("not_finite");
    }
    if taken < values.len() {
        counts.add_noted("values_not_finite", (values.len() - taken) as u64);
    }
    Verdict::Taken
}
