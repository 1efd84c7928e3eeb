//! An aggregator written from the Agent's rules alone: plain and slow, and it shares no code with the
//! program's. It works on text, one line at a time, for one bucket.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde_json::{Value, json};

/// Name, host and tags as a series is told apart.
type Key = (String, Option<String>, Vec<String>);

enum State {
    Counter(f64),
    Gauge(f64),
    Set(BTreeSet<String>),
    /// Values with weights, and whether they are milliseconds.
    Histogram(Vec<(f64, f64)>, bool),
    Distribution(Vec<(f64, f64)>),
}

pub struct Reference {
    seconds: f64,
    states: BTreeMap<(Key, char), State>,
    /// Points with a time of their own.
    points: Vec<Value>,
    pub rejected: usize,
    pub events: usize,
    pub checks: usize,
}

impl Reference {
    pub fn new(seconds: f64) -> Reference {
        Reference { seconds, states: BTreeMap::new(), points: Vec::new(), rejected: 0, events: 0, checks: 0 }
    }

    pub fn packet(&mut self, text: &str) {
        for line in text.split('\n').filter(|line| !line.is_empty()) {
            let is_good = if line.starts_with("_e{") {
                let is_good = is_event(line.as_bytes()).is_some();
                self.events += usize::from(is_good);
                is_good
            } else if line.starts_with("_sc") {
                let fields: Vec<&str> = line[4..].split('|').collect();
                let is_good = !fields[0].is_empty() && fields.len() > 1 && ["0", "1", "2", "3"].contains(&fields[1]);
                self.checks += usize::from(is_good);
                is_good
            } else {
                self.line(line).is_some()
            };
            self.rejected += usize::from(!is_good);
        }
    }

    /// `None` where the line is not good.
    fn line(&mut self, line: &str) -> Option<()> {
        let fields: Vec<&str> = line.split('|').collect();
        let (name, values) = fields[0].split_once(':')?;
        let kind = *fields.get(1)?;
        if name.is_empty() || values.is_empty() || !["c", "g", "s", "h", "ms", "d"].contains(&kind) {
            return None;
        }
        let (mut rate, mut tags, mut time) = (1.0, "", None);
        for field in &fields[2..] {
            if let Some(text) = field.strip_prefix('@') {
                rate = text.parse().ok()?;
            } else if let Some(text) = field.strip_prefix('#') {
                tags = text;
            } else if let Some(text) = field.strip_prefix('T') {
                time = Some(text.parse::<i64>().ok().filter(|time| *time >= 1)?);
            }
        }
        let mut tags: Vec<String> =
            if tags.is_empty() { Vec::new() } else { tags.split(',').map(str::to_string).collect() };
        let host = tags.iter().filter_map(|tag| tag.strip_prefix("host:")).next_back().map(str::to_string);
        let magic = ["host:", "dd.internal.entity_id:", "dd.internal.card:", "dd.internal.jmx_check_name:"];
        tags.retain(|tag| !magic.iter().any(|begin| tag.starts_with(begin)));
        tags.sort();
        tags.dedup();
        let key = (name.to_string(), host, tags);
        if kind == "s" {
            let State::Set(set) = self.state(key, 's', || State::Set(BTreeSet::new())) else { unreachable!() };
            set.insert(values.to_string());
            return Some(());
        }
        let numbers: Result<Vec<f64>, _> = values.split(':').filter(|v| !v.is_empty()).map(str::parse).collect();
        let numbers: Vec<f64> = numbers.ok()?;
        // NaN and infinities are refused by the program, and counted there.
        let numbers = numbers.into_iter().filter(|number| number.is_finite());
        if let Some(time) = time {
            for number in numbers {
                match kind {
                    "c" => self.point(&key, time, "rate", number / self.seconds),
                    "g" => self.point(&key, time, "gauge", number),
                    _ => {}
                }
            }
            return Some(());
        }
        for number in numbers {
            match (kind, self.state(key.clone(), kind.chars().next()?, || first(kind))) {
                (_, State::Counter(sum)) => *sum += number * (1.0 / rate),
                (_, State::Gauge(last)) => *last = number,
                (_, State::Histogram(samples, _) | State::Distribution(samples)) => {
                    samples.push((number, if rate == 0.0 { 1.0 } else { 1.0 / rate }));
                }
                (_, State::Set(_)) => unreachable!(),
            }
        }
        Some(())
    }

    fn state(&mut self, key: Key, kind: char, first: impl FnOnce() -> State) -> &mut State {
        self.states.entry((key, kind)).or_insert_with(first)
    }

    fn point(&mut self, key: &Key, time: i64, kind: &str, value: f64) {
        self.points.push(series(key, "", kind, json!(value), Some(time), false));
    }

    /// Every point, as a row of the program but for its time.
    pub fn finish(self) -> Vec<Value> {
        let mut all = self.points;
        for ((key, _), state) in &self.states {
            let mut add = |suffix: &str, kind: &str, value: f64, timing: bool| {
                all.push(series(key, suffix, kind, json!(value), None, timing));
            };
            match state {
                State::Counter(sum) => add("", "rate", sum / self.seconds, false),
                State::Gauge(last) => add("", "gauge", *last, false),
                State::Set(set) => add("", "gauge", set.len() as f64, false),
                State::Histogram(samples, timing) => {
                    let mut samples = samples.clone();
                    let count: f64 = samples.iter().map(|(_, weight)| weight).sum();
                    let sum: f64 = samples.iter().map(|(value, weight)| value * weight).sum();
                    samples.sort_by(|a, b| a.0.total_cmp(&b.0));
                    let at = |limit: f64| {
                        let mut weight = 0.0;
                        let found = samples.iter().find(|sample| {
                            weight += sample.1;
                            weight > limit
                        });
                        found.unwrap_or(&samples[samples.len() - 1]).0
                    };
                    add(".max", "gauge", samples[samples.len() - 1].0, *timing);
                    add(".median", "gauge", at((count - 1.0) / 2.0), *timing);
                    add(".avg", "gauge", sum / count, *timing);
                    add(".count", "rate", count / self.seconds, false);
                    add(".95percentile", "gauge", at((95.0 * count - 1.0) / 100.0), *timing);
                }
                State::Distribution(samples) => all.push(series(key, "", "sketch", sketch(samples), None, false)),
            }
        }
        all
    }
}

/// Whether an event has what its head says, in bytes.
fn is_event(line: &[u8]) -> Option<()> {
    let colon = line.iter().position(|b| *b == b':')?;
    let head = std::str::from_utf8(line.get(3..colon - 1)?).ok()?;
    let (title, text) = head.split_once(',')?;
    let (title, text): (usize, usize) = (title.parse().ok()?, text.parse().ok()?);
    (title > 0 && title + text < line.len() - colon - 1).then_some(())
}

fn first(kind: &str) -> State {
    match kind {
        "c" => State::Counter(0.0),
        "g" => State::Gauge(0.0),
        "d" => State::Distribution(Vec::new()),
        other => State::Histogram(Vec::new(), other == "ms"),
    }
}

fn series(key: &Key, suffix: &str, kind: &str, value: Value, time: Option<i64>, timing: bool) -> Value {
    let (name, host, tags) = key;
    let mut row = json!({ "name": format!("{name}{suffix}"), "kind": kind, "tags": tags });
    row[if kind == "sketch" { "sketch" } else { "value" }] = value;
    if let Some(host) = host {
        row["host"] = json!(host);
    }
    if let Some(time) = time {
        row["time"] = json!(time);
    }
    let known = units().get(name).filter(|_| suffix != ".count");
    if let Some(unit) = known.map(String::as_str).or(timing.then_some("millisecond")) {
        row["unit"] = json!(unit);
    }
    row
}

/// Of the runtime metrics whose names are known.
fn units() -> &'static BTreeMap<String, String> {
    static UNITS: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
        let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_string();
        let rows = super::lines("runtime_metrics.jsonl");
        let units = rows.iter().map(|row| (text(row, "name"), text(row, "unit")));
        units.filter(|(_, unit)| !unit.is_empty()).collect()
    });
    &UNITS
}

/// By the published parameters, in the order of the keys.
fn sketch(samples: &[(f64, f64)]) -> Value {
    let gamma = (1.0f64 + 2.0 / 128.0).ln();
    let key = |value: f64| {
        let size = match value.abs() {
            small if small < 1e-9 => 0,
            value => (value.ln() / gamma).round_ties_even() as i64 + 1338,
        };
        if value < 0.0 { -size } else { size }
    };
    let mut bins: BTreeMap<i64, i64> = BTreeMap::new();
    let (mut count, mut sum, mut counted) = (0, 0.0, 0.0);
    for (value, weight) in samples {
        let weight = if *weight >= 1.0 { *weight } else { 1.0 };
        *bins.entry(key(*value)).or_default() += weight as i64;
        count += weight as i64;
        sum += value * weight;
        counted += value * weight.trunc();
    }
    let values = || samples.iter().map(|(value, _)| *value);
    json!({
        "count": count, "sum": sum, "min": values().fold(f64::INFINITY, f64::min),
        "max": values().fold(f64::NEG_INFINITY, f64::max), "avg": counted / count as f64,
        "keys": bins.keys().collect::<Vec<_>>(), "counts": bins.values().collect::<Vec<_>>(),
    })
}
