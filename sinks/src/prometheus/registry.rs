//! What is exposed: families of one type each, with their series.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use serde_json::Value;
use weir_core::sketch;

use super::names;

/// Bounds of a histogram's buckets: 1, 2 and 5 of each power of ten.
const MANTISSAS: [f64; 3] = [1.0, 2.0, 5.0];
const POWERS: std::ops::RangeInclusive<i32> = -9..=12;

/// Bytes of a series beside its labels and buckets, as measured: its state, its place in the tables, the allocator's.
const SERIES_BYTES: usize = 240;
/// Of each bucket that values lie in.
const BUCKET_BYTES: usize = 40;
/// Of a family beside its names, and how often it has one: as it is called, as its samples are, as it is meant.
const FAMILY_BYTES: usize = 1_200;
const FAMILY_NAMES: usize = 10;

/// What a series is reckoned with. Some may take more where others take less.
const ROOM_BYTES: usize = 600;
/// Room that there is for however few series.
const ROOM_BYTES_MIN: usize = 1 << 20;

/// Of a name that is only kept to be told of.
const TOLD_CHARS_MAX: usize = 200;

/// Bytes that so many series may take together.
pub fn room_bytes(series: usize) -> usize {
    series.saturating_mul(ROOM_BYTES).max(ROOM_BYTES_MIN)
}

/// How far a sketch's bin reaches below the value that stands for it.
const BIN_HALF: f64 = 1.0 / 128.0;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    Counter,
    Gauge,
    Histogram,
}

/// One point, read from its row.
pub struct Point {
    name: String,
    unit: Option<String>,
    /// What it was before name, tags and host were made to fit, hashed.
    origin: u64,
    /// As they are written, without the braces.
    labels: Box<str>,
    value: Measure,
}

enum Measure {
    /// How much came in the interval.
    Added(f64),
    Last(f64),
    Sketch {
        count: u64,
        sum: f64,
        buckets: Buckets,
    },
}

/// How many values lie in each bucket, not above its bound.
type Buckets = BTreeMap<usize, u64>;

/// The buckets that the bins of a sketch lie in.
fn buckets(bins: impl Iterator<Item = (i64, u64)>) -> Buckets {
    let mut buckets = Buckets::new();
    for (key, n) in bins {
        let value = sketch::value(key.clamp(-32_767, 32_767) as i16);
        // A bin around a bound counts as below it: values are round numbers more often than not.
        let lowest = if value.is_finite() { value - value.abs() * BIN_HALF } else { value };
        let held = buckets.entry(BOUNDS.partition_point(|bound| *bound < lowest)).or_default();
        *held = u64::saturating_add(*held, n);
    }
    buckets
}

impl Point {
    /// Reads a row of `series`.
    pub fn read(line: &[u8]) -> Option<Point> {
        let row: Value = serde_json::from_slice(line).ok()?;
        let number = |name: &str| row[name].as_f64();
        let value = match row["kind"].as_str()? {
            "gauge" => Measure::Last(number("value")?),
            "count" => Measure::Added(number("value")?),
            "rate" => {
                let all = number("value")? * number("interval").unwrap_or(1.0);
                Measure::Added(Some(all).filter(|all| all.is_finite())?)
            }
            _ => {
                let sketch = row.get("sketch")?;
                let list = |name: &str| sketch[name].as_array().map(Vec::as_slice).unwrap_or_default();
                let bins = list("keys").iter().zip(list("counts"));
                Measure::Sketch {
                    count: sketch["count"].as_u64()?,
                    sum: sketch["sum"].as_f64()?,
                    buckets: buckets(bins.filter_map(|(key, n)| Some((key.as_i64()?, n.as_u64()?)))),
                }
            }
        };
        let tags = row["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut tags: Vec<&str> = tags.iter().filter_map(Value::as_str).collect();
        tags.sort_unstable();
        let mut labels = names::labels(tags.iter().copied());
        if let Some(host) = row["host"].as_str().filter(|host| !host.is_empty()) {
            labels.entry("host".into()).or_insert_with(|| host.to_string());
        }
        let unit = row["unit"].as_str().and_then(names::unit);
        let name = row["name"].as_str()?;
        let origin = origin(name, &tags, row["host"].as_str());
        Some(Point { name: name.to_string(), unit, origin, labels: names::written(&labels).into(), value })
    }

    /// The name of its family.
    fn family(&self) -> String {
        let name = names::metric(&self.name);
        match &self.unit {
            Some(unit) if name != *unit && !names::says_unit(&name, unit) => format!("{name}_{unit}"),
            _ => name,
        }
    }

    fn ty(&self) -> Type {
        match self.value {
            Measure::Added(_) => Type::Counter,
            Measure::Last(_) => Type::Gauge,
            Measure::Sketch { .. } => Type::Histogram,
        }
    }
}

fn origin(name: &str, tags: &[&str], host: Option<&str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (name, tags, host).hash(&mut hasher);
    hasher.finish()
}

/// What became of a point.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Put {
    Taken,
    /// Taken into a series that another one was made to fit into as well; the first time in a family, with what a
    /// user should know.
    Mixed(Option<String>),
    /// Its name is exposed with another type, or there is no room.
    Refused,
}

/// Counts below each bound, by the number of the bound.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    pub count: u64,
    pub sum: f64,
    buckets: Buckets,
}

impl Histogram {
    /// Bounds that values have come near, with how many were at or below each.
    pub fn cumulative(&self) -> Vec<(f64, u64)> {
        let bounds = &*BOUNDS;
        let (Some(first), Some(last)) = (self.buckets.keys().next(), self.buckets.keys().next_back()) else {
            return Vec::new();
        };
        let mut sum = 0;
        let each = (*first..=*last).filter(|at| *at < bounds.len()).map(|at| {
            sum = u64::saturating_add(sum, self.buckets.get(&at).copied().unwrap_or(0));
            (bounds[at], sum)
        });
        each.collect()
    }
}

/// Read from text, so that each is the number that a person writes.
static BOUNDS: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let scaled = |power: i32| MANTISSAS.map(|mantissa| format!("{mantissa}e{power}").parse().unwrap_or(mantissa));
    std::iter::once(0.0).chain(POWERS.flat_map(scaled)).collect()
});

#[derive(Clone, Debug)]
pub enum State {
    Number(f64),
    Histogram(Histogram),
}

impl State {
    fn new(ty: Type) -> State {
        match ty {
            Type::Histogram => State::Histogram(Histogram::default()),
            Type::Counter | Type::Gauge => State::Number(0.0),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            State::Number(_) => 0,
            State::Histogram(histogram) => histogram.buckets.len() * BUCKET_BYTES,
        }
    }

    /// Bytes that a point adds.
    fn bytes_of(&self, value: &Measure) -> usize {
        match (self, value) {
            (State::Histogram(histogram), Measure::Sketch { buckets, .. }) => {
                buckets.keys().filter(|at| !histogram.buckets.contains_key(at)).count() * BUCKET_BYTES
            }
            _ => 0,
        }
    }

    fn take(&mut self, value: &Measure) {
        match (self, value) {
            // What no number holds begins anew, as a counter does whose program was started again.
            (State::Number(sum), Measure::Added(more)) => {
                *sum = if (*sum + more).is_finite() { *sum + more } else { *more };
            }
            (State::Number(last), Measure::Last(value)) => *last = *value,
            (State::Histogram(histogram), Measure::Sketch { count, sum, buckets }) => {
                if !(histogram.sum + sum).is_finite() {
                    *histogram = Histogram::default();
                }
                histogram.count = histogram.count.saturating_add(*count);
                histogram.sum += sum;
                for (at, n) in buckets {
                    let held = histogram.buckets.entry(*at).or_default();
                    *held = held.saturating_add(*n);
                }
            }
            _ => {}
        }
    }
}

pub struct Series {
    pub state: State,
    /// Of its last point, with its name where that is not the family's meaning.
    origin: u64,
    name: Option<Box<str>>,
    /// When its last point came.
    updated: i64,
}

pub struct Family {
    pub ty: Type,
    pub unit: Option<String>,
    /// What it was called before its name was made to fit.
    pub meaning: String,
    /// Whether different series were made to fit into one of these.
    is_mixed: bool,
    /// By their labels.
    pub series: BTreeMap<Box<str>, Series>,
}

impl Series {
    /// Bytes of its buckets, and of a name of its own.
    fn bytes(&self) -> usize {
        self.state.bytes() + self.name.as_ref().map_or(0, |name| name.len())
    }
}

/// Bytes of a family beside its series.
fn family_bytes(name: &str, meaning: &str) -> usize {
    FAMILY_BYTES + FAMILY_NAMES * name.len().max(meaning.len())
}

/// Bytes of a series beside its buckets.
fn series_bytes(labels: &str) -> usize {
    SERIES_BYTES + labels.len()
}

impl Family {
    fn bytes(&self, name: &str) -> usize {
        let each = self.series.iter().map(|(labels, series)| series_bytes(labels) + series.bytes());
        family_bytes(name, &self.meaning) + each.sum::<usize>()
    }
}

pub struct Registry {
    pub families: BTreeMap<String, Family>,
    stale: i64,
    series: usize,
    series_max: usize,
    bytes: usize,
    bytes_max: usize,
    /// Names of samples that are taken, each with its family.
    exposed: BTreeMap<String, String>,
    /// When what is stale was last taken out.
    looked_at: i64,
}

/// The names under which a family's samples are written, its own among them.
fn samples(name: &str, ty: Type) -> Vec<String> {
    match ty {
        Type::Gauge => vec![name.to_string()],
        Type::Counter => {
            let base = name.strip_suffix("_total").unwrap_or(name);
            vec![base.to_string(), format!("{base}_total")]
        }
        Type::Histogram => ["", "_bucket", "_sum", "_count"].map(|suffix| format!("{name}{suffix}")).to_vec(),
    }
}

/// What a user should know of points of `name` that were made to fit into a series of `before`.
fn mixed(name: &str, before: &str, fit: &str) -> String {
    if name == before {
        return format!(
            "tags or hosts of `{name}` that differ are the same labels to Prometheus: their points are mixed"
        );
    }
    format!("`{name}` and `{before}` are both `{fit}` to Prometheus: their points of the same tags are mixed")
}

impl Registry {
    pub fn new(stale: i64, series_max: usize) -> Registry {
        Registry {
            families: BTreeMap::new(),
            stale,
            series: 0,
            series_max,
            bytes: 0,
            bytes_max: room_bytes(series_max),
            exposed: BTreeMap::new(),
            looked_at: i64::MIN,
        }
    }

    /// Takes a point in.
    pub fn put(&mut self, point: &Point, now: i64) -> Put {
        // Before its name is taken: what is not exposed must not keep others from it.
        if matches!(point.value, Measure::Added(more) if !(more >= 0.0 && more.is_finite())) {
            return Put::Refused;
        }
        let (name, ty) = (point.family(), point.ty());
        let mut has_room = self.has_room(&name, point);
        if !has_room && self.looked_at.saturating_add(self.stale / 4) < now {
            self.expire(now);
            has_room = self.has_room(&name, point);
        }
        if !has_room || !self.is_free(&name, ty) {
            return Put::Refused;
        }
        if !self.families.contains_key(&name) {
            self.bytes += family_bytes(&name, &point.name);
            self.exposed.extend(samples(&name, ty).into_iter().map(|sample| (sample, name.clone())));
        }
        let family = self.families.entry(name.clone()).or_insert_with(|| Family {
            ty,
            unit: point.unit.clone(),
            meaning: point.name.clone(),
            is_mixed: false,
            series: BTreeMap::new(),
        });
        if !family.series.contains_key(&point.labels) {
            self.series += 1;
            self.bytes += series_bytes(&point.labels);
        }
        let series = family.series.entry(point.labels.clone()).or_insert_with(|| Series {
            state: State::new(ty),
            origin: point.origin,
            name: None,
            updated: now,
        });
        self.bytes -= series.bytes();
        series.state.take(&point.value);
        series.updated = now;
        let is_mixed = std::mem::replace(&mut series.origin, point.origin) != point.origin;
        let own_name = || point.name.chars().take(TOLD_CHARS_MAX).collect::<String>().into();
        let own_name = (point.name != family.meaning).then(own_name);
        let name_before = std::mem::replace(&mut series.name, own_name);
        self.bytes += series.bytes();
        if !is_mixed {
            return Put::Taken;
        }
        let is_news = !std::mem::replace(&mut family.is_mixed, true);
        let before = name_before.as_deref().unwrap_or(&family.meaning);
        Put::Mixed(is_news.then(|| mixed(&point.name, before, &name)))
    }

    /// Whether a family may have this name: it has it, or none writes its samples under one of this one's.
    fn is_free(&self, name: &str, ty: Type) -> bool {
        match self.families.get(name) {
            Some(family) => family.ty == ty,
            None => !samples(name, ty).iter().any(|sample| self.exposed.contains_key(sample)),
        }
    }

    fn has_room(&self, name: &str, point: &Point) -> bool {
        let family = self.families.get(name);
        let family_bytes = if family.is_none() { family_bytes(name, &point.name) } else { 0 };
        let series = family.and_then(|family| family.series.get(&point.labels));
        let series_bytes = match series {
            Some(series) => series.state.bytes_of(&point.value),
            None => series_bytes(&point.labels) + State::new(point.ty()).bytes_of(&point.value),
        };
        let is_room = self.series < self.series_max || series.is_some();
        is_room && self.bytes + family_bytes + series_bytes <= self.bytes_max
    }

    /// Takes out what got no point for long.
    pub fn expire(&mut self, now: i64) {
        for family in self.families.values_mut() {
            family.series.retain(|_, series| now.saturating_sub(series.updated) <= self.stale);
        }
        self.families.retain(|_, family| !family.series.is_empty());
        self.exposed.retain(|_, name| self.families.contains_key(name));
        self.looked_at = now;
        self.series = self.families.values().map(|family| family.series.len()).sum();
        self.bytes = self.families.iter().map(|(name, family)| family.bytes(name)).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_number_holds_begins_anew() {
        let mut registry = Registry::new(1_000, 10);
        let point = Point::read(br#"{"name":"bytes","kind":"rate","interval":10,"value":1.7e307}"#).unwrap();
        for _ in 0..2 {
            assert_eq!(registry.put(&point, 0), Put::Taken);
        }
        let family = registry.families.values().next().unwrap();
        let State::Number(sum) = family.series.values().next().unwrap().state else { panic!("a counter") };
        assert!(sum.is_finite() && sum > 0.0, "{sum}");
    }

    #[test]
    fn what_series_take_is_limited_as_it_is_reckoned_with() {
        let put = |registry: &mut Registry, number: usize, rest: &str, now: i64| {
            let row = format!(r#"{{"name":"m{}","kind":"gauge","value":1,{rest}}}"#, number % 3);
            registry.put(&Point::read(row.as_bytes()).unwrap(), now)
        };
        let long = |number: usize| format!(r#""tags":["t{number}:{}"]"#, "x".repeat(50_000));
        let mut registry = Registry::new(1_000, 1_000);
        let taken = (0..100).filter(|n| put(&mut registry, *n, &long(*n), 0) == Put::Taken).count();
        assert_eq!(taken, room_bytes(1_000) / (50_000 + SERIES_BYTES), "beside the families");
        assert_eq!(put(&mut registry, 0, &long(0), 0), Put::Taken, "what is there goes on");
        assert_eq!(put(&mut registry, 0, r#""tags":["short:1"]"#, 0), Put::Taken, "what is short finds room");
        assert_eq!(put(&mut registry, 0, &long(200), 2_000), Put::Taken, "what was silent made room");
        let family = &registry.families["m0"];
        assert_eq!((registry.families.len(), registry.bytes), (1, family.bytes("m0")));
    }

    #[test]
    fn a_histogram_finds_no_room_for_more_buckets() {
        let mut registry = Registry::new(1_000, 1);
        let point = |key: i64| {
            let sketch = format!(r#"{{"count":1,"sum":1,"keys":[{key}],"counts":[1]}}"#);
            Point::read(format!(r#"{{"name":"h","kind":"sketch","sketch":{sketch}}}"#).as_bytes()).unwrap()
        };
        assert_eq!(registry.put(&point(1_000), 0), Put::Taken);
        registry.bytes_max = registry.bytes;
        assert_eq!([registry.put(&point(2_000), 0), registry.put(&point(1_000), 0)], [Put::Refused, Put::Taken]);
    }

    /// Prometheus takes nothing at all where the unit that is told is no part of the name behind a `_`.
    #[test]
    fn a_unit_is_a_part_of_the_name_or_not_told() {
        use super::super::text::{Form, write};
        let mut registry = Registry::new(1_000, 10);
        for (name, unit) in [("bytes", "byte"), ("netbytes", "byte"), ("milliseconds", "second"), ("a_bytes", "bytes")]
        {
            let row = format!(r#"{{"name":"{name}","kind":"gauge","value":1,"unit":"{unit}"}}"#);
            assert_eq!(registry.put(&Point::read(row.as_bytes()).unwrap(), 0), Put::Taken);
        }
        let text = write(&registry, Form::OpenMetrics);
        let units: Vec<&str> = text.lines().filter(|line| line.starts_with("# UNIT")).collect();
        let told = ["a_bytes bytes", "milliseconds_seconds seconds", "netbytes_bytes bytes"];
        assert_eq!(units, told.map(|told| format!("# UNIT {told}")));
        assert!(text.contains("\nbytes 1\n"), "{text}");
    }

    #[test]
    fn a_value_above_every_bound_is_below_none() {
        let mut registry = Registry::new(1_000, 10);
        let row = br#"{"name":"h","kind":"sketch","sketch":{"count":1,"sum":1e300,"keys":[32767],"counts":[1]}}"#;
        let point = Point::read(row).unwrap();
        assert_eq!(registry.put(&point, 0), Put::Taken);
        let family = registry.families.values().next().unwrap();
        let State::Histogram(histogram) = &family.series.values().next().unwrap().state else { panic!("a histogram") };
        assert!(histogram.cumulative().iter().all(|(_, below)| *below == 0), "{:?}", histogram.cumulative());
    }

    #[test]
    fn a_refused_point_does_not_take_its_name() {
        let mut registry = Registry::new(1_000, 10);
        let point = |value: f64| {
            let row = format!(r#"{{"name":"jobs","kind":"rate","interval":10,"value":{value}}}"#);
            Point::read(row.as_bytes()).unwrap()
        };
        assert_eq!([registry.put(&point(-0.5), 0), registry.put(&point(0.5), 0)], [Put::Refused, Put::Taken]);
        assert_eq!(registry.families.len(), 1);
    }

    #[test]
    fn what_looks_the_same_once_it_fits_is_told() {
        let mut registry = Registry::new(1_000, 10);
        let mut put = |name: &str, rest: &str| {
            let row = format!(r#"{{"name":"{name}","kind":"gauge","value":1,{rest}}}"#);
            registry.put(&Point::read(row.as_bytes()).unwrap(), 0)
        };
        let mixed = |text: &str| Put::Mixed(Some(text.into()));
        assert_eq!(put("a.b", r#""tags":["x:1","y:1"]"#), Put::Taken);
        assert_eq!(put("a.b", r#""tags":["y:1","x:1"]"#), Put::Taken, "another order is the same");
        assert_eq!(put("a_b", r#""tags":["x:2"]"#), Put::Taken, "other labels are another series");
        let names = mixed("`a-b` and `a_b` are both `a_b` to Prometheus: their points of the same tags are mixed");
        assert_eq!(put("a-b", r#""tags":["x:2"]"#), names);
        assert_eq!(put("a.b", r#""tags":["x:2"]"#), Put::Mixed(None), "it is said once");
        assert_eq!(put("c", r#""tags":["k.l:1"]"#), Put::Taken);
        let labels = "tags or hosts of `c` that differ are the same labels to Prometheus: their points are mixed";
        assert_eq!(put("c", r#""tags":["k_l:1"]"#), mixed(labels));
        assert_eq!(put("d_seconds", r#""tags":[]"#), Put::Taken);
        let units = "`d` and `d_seconds` are both `d_seconds` to Prometheus: their points of the same tags are mixed";
        assert_eq!(put("d", r#""tags":[],"unit":"second""#), mixed(units));
        assert_eq!(put("e", r#""tags":["host:x"],"host":"one""#), Put::Taken);
        assert!(matches!(put("e", r#""tags":["host:x"],"host":"two""#), Put::Mixed(Some(_))));
    }
}
