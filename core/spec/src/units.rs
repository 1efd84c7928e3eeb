//! Durations, sizes, rates and times as text: what the language reads and what a table prints.

use jiff::Timestamp;

/// Why a number with a unit could not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UnitError {
    /// Not a number with a unit at all.
    Shape,
    /// The unit is not one of ours; the nearest right spelling, if there is one.
    Unit { found: String, better: Option<&'static str> },
    /// The value does not fit 64 bits.
    Range,
}

const NANOS: &[(&str, f64)] =
    &[("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 6e10), ("h", 3.6e12), ("d", 8.64e13)];
const BYTES: &[(&str, f64)] = &[
    ("B", 1.0),
    ("kB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("TB", 1e12),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
    ("TiB", 1_099_511_627_776.0),
];

/// What other tools and habits write, and what it is here.
const BETTER: &[(&str, &str)] = &[
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("min", "m"),
    ("mins", "m"),
    ("minute", "m"),
    ("minutes", "m"),
    ("hour", "h"),
    ("hours", "h"),
    ("hr", "h"),
    ("hrs", "h"),
    ("H", "h"),
    ("day", "d"),
    ("days", "d"),
    ("D", "d"),
    ("msec", "ms"),
    ("millis", "ms"),
    ("usec", "us"),
    ("micros", "us"),
    ("µs", "us"),
    ("nsec", "ns"),
    ("nanos", "ns"),
    ("S", "s"),
    ("b", "B"),
    ("bytes", "B"),
    ("byte", "B"),
    ("K", "KiB"),
    ("k", "kB"),
    ("KB", "kB"),
    ("kb", "kB"),
    ("Kb", "kB"),
    ("kib", "KiB"),
    ("Ki", "KiB"),
    ("kiB", "KiB"),
    ("M", "MiB"),
    ("Mb", "MB"),
    ("mb", "MB"),
    ("mib", "MiB"),
    ("Mi", "MiB"),
    ("mB", "MB"),
    ("G", "GiB"),
    ("Gb", "GB"),
    ("gb", "GB"),
    ("gib", "GiB"),
    ("Gi", "GiB"),
    ("g", "GiB"),
    ("T", "TiB"),
    ("Tb", "TB"),
    ("tb", "TB"),
    ("tib", "TiB"),
    ("Ti", "TiB"),
    ("t", "TiB"),
];

/// A number with a unit, as the lexer found it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Quantity {
    Int(i64),
    Float(f64),
    /// Nanoseconds.
    Duration(i64),
    /// Bytes.
    Size(i64),
    /// Bytes a second.
    ByteRate(f64),
    /// Things a second.
    Rate(f64),
    /// `1%` is 0.01.
    Percent(f64),
}

/// Reads `10`, `1.5`, `1m30s`, `256MiB`, `10MB/s`, `50%`.
///
/// Errors say whether the shape or the unit is at fault, and how it is written here.
pub fn parse_quantity(text: &str) -> Result<Quantity, UnitError> {
    if let Some(rate) = text.strip_suffix("/s") {
        return match parse_quantity(rate)? {
            Quantity::Size(bytes) => Ok(Quantity::ByteRate(bytes as f64)),
            Quantity::Int(n) => Ok(Quantity::Rate(n as f64)),
            Quantity::Float(x) => Ok(Quantity::Rate(x)),
            _ => Err(UnitError::Shape),
        };
    }
    if let Some(percent) = text.strip_suffix('%') {
        let x = percent.parse::<f64>().map_err(|_| UnitError::Shape)?;
        return Ok(Quantity::Percent(x / 100.0));
    }
    let digits = text.replace('_', "");
    if digits.bytes().all(|b| b.is_ascii_digit()) && !digits.is_empty() {
        return digits.parse().map(Quantity::Int).map_err(|_| UnitError::Range);
    }
    if digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return digits.parse().map(Quantity::Float).map_err(|_| UnitError::Shape);
    }
    if let Some(x) = exponent(&digits) {
        return if x.is_finite() { Ok(Quantity::Float(x)) } else { Err(UnitError::Range) };
    }
    compound(&digits)
}

/// `1e9`, `1.5e-3`: a float, as other languages write it.
fn exponent(text: &str) -> Option<f64> {
    let (mantissa, power) = text.split_once(['e', 'E'])?;
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let is_power = digits(power.strip_prefix(['+', '-']).unwrap_or(power));
    (digits(mantissa) && is_power).then(|| text.parse().ok()).flatten()
}

/// One or more numbers, each touching its unit: `90s`, `1h30m`, `1.5MiB`.
fn compound(text: &str) -> Result<Quantity, UnitError> {
    let mut rest = text;
    let mut nanos = 0f64;
    let mut parts = 0;
    while !rest.is_empty() {
        let split = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, tail) = rest.split_at(split.ok_or(UnitError::Shape)?);
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let value: f64 = number.parse().map_err(|_| UnitError::Shape)?;
        if let Some((_, scale)) = BYTES.iter().find(|(name, _)| *name == unit) {
            return match parts == 0 && tail.is_empty() {
                true => whole(value * scale).map(Quantity::Size),
                false => Err(UnitError::Shape),
            };
        }
        let Some((_, scale)) = NANOS.iter().find(|(name, _)| *name == unit) else {
            let better = BETTER.iter().find(|(habit, _)| *habit == unit).map(|(_, b)| *b);
            return Err(UnitError::Unit { found: unit.to_string(), better });
        };
        nanos += value * scale;
        parts += 1;
        rest = tail;
    }
    whole(nanos).map(Quantity::Duration)
}

fn whole(x: f64) -> Result<i64, UnitError> {
    if x.is_finite() && x < 9.2e18 { Ok(x.round() as i64) } else { Err(UnitError::Range) }
}

/// The right spelling of a unit as people write it elsewhere (`seconds`, `Mb`).
pub fn better_unit(habit: &str) -> Option<&'static str> {
    BETTER.iter().find(|(h, _)| *h == habit).map(|(_, b)| *b)
}

/// A duration as the language writes it: `1m30s`, `250ms`. Exact.
pub fn duration(nanos: i64) -> String {
    if nanos == 0 {
        return "0s".into();
    }
    let mut rest = nanos.unsigned_abs();
    let mut text = if nanos < 0 { String::from("-") } else { String::new() };
    for (unit, scale) in NANOS.iter().rev() {
        let scale = *scale as u64;
        if rest >= scale {
            text += &format!("{}{unit}", rest / scale);
            rest %= scale;
        }
    }
    text
}

/// A size as the language writes it, in the largest binary or decimal unit that is exact.
pub fn size(bytes: i64) -> String {
    let fits = |scale: f64| bytes != 0 && bytes % (scale as i64) == 0;
    let unit = BYTES.iter().filter(|(_, scale)| fits(*scale)).max_by(|a, b| a.1.total_cmp(&b.1));
    let (name, scale) = unit.unwrap_or(&BYTES[0]);
    format!("{}{name}", bytes / *scale as i64)
}

/// A duration for a person: three digits and one unit (`1.25 ms`).
pub fn human_duration(nanos: i64) -> String {
    let x = nanos.unsigned_abs() as f64;
    let sign = if nanos < 0 { "-" } else { "" };
    if x >= 6e10 {
        let seconds = (x / 1e9).round() as u64;
        let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        return match h {
            0 => format!("{sign}{m}m{s:02}s"),
            _ => format!("{sign}{h}h{m:02}m"),
        };
    }
    let (unit, scale) = match x {
        x if x >= 1e9 => ("s", 1e9),
        x if x >= 1e6 => ("ms", 1e6),
        x if x >= 1e3 => ("us", 1e3),
        _ => return format!("{sign}{x} ns"),
    };
    format!("{sign}{} {unit}", three_digits(x / scale))
}

/// A size for a person: three digits and a binary unit (`1.25 MiB`).
pub fn human_size(bytes: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut x = bytes.abs();
    let mut at = 0;
    while x >= 1023.95 && at + 1 < units.len() {
        x /= 1024.0;
        at += 1;
    }
    let sign = if bytes < 0.0 { "-" } else { "" };
    match at {
        0 if x.fract() == 0.0 => format!("{sign}{x} B"),
        _ => format!("{sign}{} {}", three_digits(x), units[at]),
    }
}

/// A plain number for a person: whole where it is whole, else three digits.
pub fn human_number(x: f64) -> String {
    if x.fract() == 0.0 && x.abs() < 1e15 {
        return format!("{x}");
    }
    let sign = if x < 0.0 { "-" } else { "" };
    format!("{sign}{}", three_digits(x.abs()))
}

fn three_digits(x: f64) -> String {
    match x {
        x if x < 9.995 => format!("{x:.2}"),
        x if x < 99.95 => format!("{x:.1}"),
        _ => format!("{x:.0}"),
    }
}

/// RFC 3339 in UTC with nanoseconds. Every 64-bit value has a text.
pub fn time(nanos: i64) -> String {
    // An i64 of nanoseconds spans 1677 to 2262, well within jiff's range.
    match Timestamp::from_nanosecond(i128::from(nanos)) {
        Ok(at) => format!("{at:.9}"),
        Err(_) => nanos.to_string(),
    }
}

/// Reads an RFC 3339 time as nanoseconds since the epoch.
/// A time in UTC as `strftime` writes it; `None` for a format that does not exist.
pub fn format_time(nanos: i64, format: &str) -> Option<String> {
    let time = jiff::Timestamp::from_nanosecond(i128::from(nanos)).ok()?;
    jiff::fmt::strtime::format(format, &time.to_zoned(jiff::tz::TimeZone::UTC)).ok()
}

pub fn parse_time(text: &str) -> Option<i64> {
    let at: Timestamp = text.parse().ok()?;
    i64::try_from(at.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantities_of_the_language() {
        let ok = |text| parse_quantity(text).unwrap();
        assert_eq!(ok("10"), Quantity::Int(10));
        assert_eq!(ok("1.5"), Quantity::Float(1.5));
        assert_eq!([ok("1.5e-3"), ok("2E+2"), ok("1e6")], [0.0015, 200.0, 1e6].map(Quantity::Float));
        assert_eq!(parse_quantity("1e999"), Err(UnitError::Range));
        assert_eq!(ok("250ms"), Quantity::Duration(250_000_000));
        assert_eq!(ok("1m30s"), Quantity::Duration(90_000_000_000));
        assert_eq!(ok("1.5s"), Quantity::Duration(1_500_000_000));
        assert_eq!(ok("256MiB"), Quantity::Size(256 << 20));
        assert_eq!(ok("10MB/s"), Quantity::ByteRate(1e7));
        assert_eq!(ok("100/s"), Quantity::Rate(100.0));
        assert_eq!(ok("50%"), Quantity::Percent(0.5));
    }

    #[test]
    fn habits_of_other_tools_get_the_right_spelling() {
        let better = |text| match parse_quantity(text) {
            Err(UnitError::Unit { better, .. }) => better,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(better("10sec"), Some("s"));
        assert_eq!(better("5min"), Some("m"));
        assert_eq!(better("1M"), Some("MiB"));
        assert_eq!(better("1Mb"), Some("MB"));
        assert_eq!(better("10parsecs"), None);
        assert_eq!(parse_quantity("99999999999999999999"), Err(UnitError::Range));
        assert_eq!(parse_quantity("1MiB2s"), Err(UnitError::Shape));
    }

    #[test]
    fn people_read_three_digits() {
        assert_eq!(human_duration(1_250_000), "1.25 ms");
        assert_eq!(human_duration(90_000_000_000), "1m30s");
        assert_eq!(human_size(1_310_720.0), "1.25 MiB");
        assert_eq!(human_size(512.0), "512 B");
        assert_eq!(time(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(parse_time("2026-01-01T00:00:00Z"), Some(1_767_225_600_000_000_000));
    }

    proptest! {
        /// What the language prints, it reads back as the same value.
        #[test]
        fn printed_durations_and_sizes_read_back(nanos in 0i64..9_000_000_000_000, bytes in 0i64..1 << 50) {
            prop_assert_eq!(parse_quantity(&duration(nanos)), Ok(Quantity::Duration(nanos)));
            prop_assert_eq!(parse_quantity(&size(bytes)), Ok(Quantity::Size(bytes)));
        }

        #[test]
        fn any_text_is_answered(text in ".{0,40}") {
            let _ = parse_quantity(&text);
        }
    }
}
