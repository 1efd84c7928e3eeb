//! What comes out of the samples of one context and one bucket, as the Datadog Agent computes it.

use std::cmp::Ordering;

use weir_core::sketch::Sketch;

/// What of a histogram becomes a series of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Aggregate {
    Max,
    Min,
    Median,
    Avg,
    Sum,
    Count,
}

impl Aggregate {
    pub const WORDS: &'static [&'static str] = &["max", "min", "median", "avg", "sum", "count"];

    pub fn parse(word: &str) -> Option<Aggregate> {
        let all = [Aggregate::Max, Aggregate::Min, Aggregate::Median, Aggregate::Avg, Aggregate::Sum, Aggregate::Count];
        all.into_iter().zip(Aggregate::WORDS).find(|(_, name)| **name == word).map(|(aggregate, _)| aggregate)
    }

    pub fn word(self) -> &'static str {
        Aggregate::WORDS[match self {
            Aggregate::Max => 0,
            Aggregate::Min => 1,
            Aggregate::Median => 2,
            Aggregate::Avg => 3,
            Aggregate::Sum => 4,
            Aggregate::Count => 5,
        }]
    }
}

/// One sample: its value, and how many it stands for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sample {
    pub value: f64,
    pub weight: f64,
}

/// A sum that keeps what rounding takes away (Kahan and Babuška, in Neumaier's form).
#[derive(Clone, Copy, Default)]
struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
    fn add(&mut self, x: f64) {
        let sum = self.sum + x;
        self.lost += if self.sum.abs() >= x.abs() { (self.sum - sum) + x } else { (x - sum) + self.sum };
        self.sum = sum;
    }

    fn of(values: impl Iterator<Item = f64>) -> Sum {
        let mut sum = Sum::default();
        values.for_each(|value| sum.add(value));
        sum
    }

    fn total(self) -> f64 {
        self.sum + self.lost
    }
}

/// Weights that differ by less are the same.
const WEIGHTS_ALIKE: f64 = 1e-9;

/// The sum of samples that are in order of their values. As in the Agent, to the last digit: where all weights are
/// the same, values are added up before they are weighed, what is below zero and what is above apart, the largest first.
fn weighed(samples: &[Sample], first_weight: f64) -> f64 {
    if samples.iter().any(|sample| (sample.weight - first_weight).abs() > WEIGHTS_ALIKE) {
        return Sum::of(samples.iter().map(|sample| sample.value * sample.weight)).total();
    }
    let (below, above) = samples.split_at(samples.partition_point(|sample| sample.value < 0.0));
    let below = Sum::of(below.iter().map(|sample| sample.value));
    let above = Sum::of(above.iter().rev().map(|sample| sample.value));
    let both = Sum::of([below.sum, above.sum].into_iter());
    (both.sum + (both.lost + below.lost + above.lost)) * first_weight
}

/// A histogram's samples, in order of their values.
pub struct Histogram<'a> {
    samples: &'a [Sample],
    count: f64,
    sum: f64,
}

impl<'a> Histogram<'a> {
    /// Puts the samples in order; there is at least one.
    pub fn new(samples: &'a mut [Sample]) -> Histogram<'a> {
        // The Agent adds weights as they come, here and when it looks for a percentile.
        let count = samples.iter().fold(0.0, |count, sample| count + sample.weight);
        let first_weight = samples.first().map_or(1.0, |sample| sample.weight);
        samples.sort_by(|a, b| a.value.partial_cmp(&b.value).unwrap_or(Ordering::Equal));
        Histogram { samples, count, sum: weighed(samples, first_weight) }
    }

    /// A count is what came in a second.
    pub fn value(&self, aggregate: Aggregate, interval_seconds: f64) -> f64 {
        match aggregate {
            Aggregate::Max => self.samples.last().map_or(0.0, |s| s.value),
            Aggregate::Min => self.samples.first().map_or(0.0, |s| s.value),
            Aggregate::Median => self.beyond((self.count - 1.0) / 2.0),
            Aggregate::Avg => self.sum / self.count,
            Aggregate::Sum => self.sum,
            Aggregate::Count => self.count / interval_seconds,
        }
    }

    /// `percent` is a whole number of hundredths.
    pub fn percentile(&self, percent: i64) -> f64 {
        self.beyond((percent as f64 * self.count - 1.0) / 100.0)
    }

    /// The first value at which more than `weight` have come.
    fn beyond(&self, weight: f64) -> f64 {
        let mut sum = 0.0;
        let found = self.samples.iter().find(|sample| {
            sum += sample.weight;
            sum > weight
        });
        found.or(self.samples.last()).map_or(0.0, |s| s.value)
    }
}

/// A percentile as the Agent takes it: 0.95 is 95.
pub fn percent(part: f64) -> i64 {
    (part * 100.0 + 0.5) as i64
}

/// A distribution's samples. A rate outside of its range counts once.
pub fn sketch(samples: &[Sample]) -> Sketch {
    let mut sketch = Sketch::default();
    for sample in samples {
        sketch.add_sampled(sample.value, if sample.weight >= 1.0 { sample.weight } else { 1.0 });
    }
    sketch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[f64], weight: f64) -> Vec<Sample> {
        values.iter().map(|value| Sample { value: *value, weight }).collect()
    }

    #[test]
    fn a_histogram_is_what_the_agent_makes_of_it() {
        let mut all = samples(&(1..=20).map(f64::from).rev().collect::<Vec<_>>(), 1.0);
        let histogram = Histogram::new(&mut all);
        let of = |aggregate| histogram.value(aggregate, 10.0);
        assert_eq!((of(Aggregate::Max), of(Aggregate::Min), of(Aggregate::Median)), (20.0, 1.0, 10.0));
        assert_eq!((of(Aggregate::Avg), of(Aggregate::Sum), of(Aggregate::Count)), (10.5, 210.0, 2.0));
        assert_eq!((histogram.percentile(95), histogram.percentile(99)), (19.0, 20.0));
    }

    #[test]
    fn weights_count_without_being_repeated() {
        let mut all = vec![Sample { value: 1.0, weight: 1e9 }, Sample { value: 2.0, weight: 1.0 }];
        let histogram = Histogram::new(&mut all);
        assert_eq!(histogram.value(Aggregate::Median, 10.0), 1.0);
        assert_eq!(histogram.value(Aggregate::Count, 10.0), (1e9 + 1.0) / 10.0);
        let sketch = sketch(&[Sample { value: 1.0, weight: 1e7 }]);
        assert_eq!((sketch.count, sketch.bins().collect::<Vec<_>>()), (10_000_000, vec![(1338, 10_000_000)]));
    }

    /// As the tests of the Agent's histograms have it, and its source.
    #[test]
    fn sums_are_the_agents_to_the_last_digit() {
        let sum = |mut all: Vec<Sample>| Histogram::new(&mut all).value(Aggregate::Sum, 1.0);
        assert_eq!(sum(samples(&[10.0; 5], 1.0 / 0.21)), 50.0 * (1.0 / 0.21));
        assert_eq!(sum(samples(&[1.0, 1e100, 1.0, -1e100], 1.0)), 2.0);
        let mut vary = samples(&[1.0, 1e100, -1e100], 1.0);
        vary.push(Sample { value: 1.0, weight: 3.0 });
        assert_eq!(sum(vary), 4.0);
        let mut all = samples(&(0..10).map(f64::from).collect::<Vec<_>>(), 1.0 / 6.0);
        assert_eq!(Histogram::new(&mut all).value(Aggregate::Median, 1.0), 2.0);
    }

    #[test]
    fn percentiles_are_whole() {
        assert_eq!([0.95, 0.5, 0.999, 0.29].map(percent), [95, 50, 100, 29]);
    }
}
