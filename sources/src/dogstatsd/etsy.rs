//! Plain StatsD, as Etsy's server reads it (`stats.js` and `lib/helpers.js` of statsd): several `value|type` pairs a
//! line, relative gauges, names cleaned for Graphite with tags as a part of them, numbers as JavaScript takes them.

use std::borrow::Cow;

use weir_spec::kinds::enums::metric_kind;

use super::message::{BAD_LINE, Metric, Origin, Refused};

/// Each pair is a row with the whole name: of one line no more of it is made.
const NAMES_BYTES_MAX: usize = 1 << 20;

/// A line, cut up.
pub struct Line<'a> {
    name: Cow<'a, [u8]>,
    /// Pairs of value and type with colons between them; absent without a colon.
    pairs: Option<&'a [u8]>,
}

/// A pair of a line.
pub enum Pair<'a> {
    Number(Metric<'a>, f64),
    /// Its member is the metric's value.
    Set(Metric<'a>),
}

impl<'a> Line<'a> {
    pub fn new(line: &'a [u8]) -> Result<Line<'a>, Refused> {
        // Another `|#` ends the tags, which may have colons.
        let (head, behind) = at_tags(line);
        let (tags, _) = at_tags(behind);
        let (name, pairs) = match memchr::memchr(b':', head) {
            Some(colon) => (&head[..colon], Some(&head[colon + 1..])),
            None => (head, None),
        };
        let name = match tags {
            [] => clean(name),
            tags => Cow::Owned(clean(&with_tags(name, tags)).into_owned()),
        };
        let copies = 1 + memchr::memchr_iter(b':', pairs.unwrap_or_default()).count();
        if name.len().saturating_mul(copies) > NAMES_BYTES_MAX {
            return Err(BAD_LINE);
        }
        Ok(Line { name, pairs })
    }

    /// Each pair, or why it is none.
    pub fn pairs(&self) -> impl Iterator<Item = Result<Pair<'_>, Refused>> {
        // Without a colon there is one pair, without a type.
        self.pairs.unwrap_or_default().split(|b| *b == b':').map(|pair| self.pair(pair).ok_or(BAD_LINE))
    }

    fn pair<'b>(&'b self, pair: &'b [u8]) -> Option<Pair<'b>> {
        let mut parts = pair.split(|b| *b == b'|');
        let (value, word, rate) = (parts.next()?, parts.next()?, parts.next());
        let sample_rate = match rate {
            None => 1.0,
            Some(rate) => sample_rate(rate)?,
        };
        let metric = |kind, values| Metric {
            name: &self.name,
            kind,
            values,
            sample_rate,
            timestamp: None,
            tags: None,
            origin: Origin::default(),
        };
        if word == b"s" {
            return Some(Pair::Set(metric(metric_kind::SET, if value.is_empty() { b"0" } else { value })));
        }
        let number = number(value).filter(|_| !value.is_empty())?;
        let is_signed = matches!(value.first(), Some(b'+' | b'-'));
        // What a type is called is looked at twice, and only the second time without blanks around it.
        Some(match (word, trim(word)) {
            (b"ms", _) if number < 0.0 => return None,
            (_, b"ms") => Pair::Number(metric(metric_kind::TIMING, value), number),
            (_, b"g") if is_signed => Pair::Number(metric(metric_kind::GAUGE_DELTA, value), number),
            (_, b"g") => Pair::Number(metric(metric_kind::GAUGE, value), number),
            (_, b"s") => Pair::Set(metric(metric_kind::SET, value)),
            // Every other type counts, no type too.
            _ => Pair::Number(metric(metric_kind::COUNTER, value), number),
        })
    }
}

/// What stands before and behind the first `|#`; nothing behind, if there is none.
fn at_tags(text: &[u8]) -> (&[u8], &[u8]) {
    const MARK: &[u8] = b"|#";
    match memchr::memmem::find(text, MARK) {
        Some(at) => (&text[..at], &text[at + MARK.len()..]),
        None => (text, &[]),
    }
}

/// What JavaScript takes for blank.
fn is_blank(c: char) -> bool {
    matches!(
        c,
        '\t'..='\r' | ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{2028}' | '\u{2029}' | '\u{202f}' | '\u{205f}'
            | '\u{3000}' | '\u{feff}'
    )
}

/// A part of a line, which is UTF-8, without blanks around it.
fn trim(text: &[u8]) -> &[u8] {
    std::str::from_utf8(text).map_or(text, |text| text.trim_matches(is_blank).as_bytes())
}

/// A name with tags as Graphite has them: `name;key=value;key=value`.
fn with_tags(name: &[u8], tags: &[u8]) -> Vec<u8> {
    let mut whole = name.to_vec();
    for tag in tags.split(|b| *b == b',') {
        whole.push(b';');
        let (mut semicolons, mut colons) = (0, 0);
        // Only the first of each.
        whole.extend(tag.iter().map(|byte| match byte {
            b';' if std::mem::replace(&mut semicolons, 1) == 0 => b'_',
            b':' if std::mem::replace(&mut colons, 1) == 0 => b'=',
            byte => *byte,
        }));
    }
    whole
}

/// A name as Graphite takes it: blanks become one `_`, `/` a `-`, and what is left that is no letter, digit or one of
/// `_-.;=` goes.
fn clean(name: &[u8]) -> Cow<'_, [u8]> {
    let is_good = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.;=".contains(byte);
    if name.iter().all(is_good) {
        return Cow::Borrowed(name);
    }
    let mut cleaned = Vec::with_capacity(name.len());
    let mut is_behind_blank = false;
    for c in String::from_utf8_lossy(name).chars() {
        match c {
            blank if is_blank(blank) && is_behind_blank => {}
            blank if is_blank(blank) => cleaned.push(b'_'),
            '/' => cleaned.push(b'-'),
            good if good.is_ascii() && is_good(&(good as u8)) => cleaned.push(good as u8),
            _ => {}
        }
        is_behind_blank = is_blank(c);
    }
    Cow::Owned(cleaned)
}

/// A number as JavaScript's `Number` takes it: blanks around it, none at all being zero, other bases, `Infinity`.
fn number(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(trim(text)).ok()?;
    match text {
        "" => return Some(0.0),
        "Infinity" | "+Infinity" => return Some(f64::INFINITY),
        "-Infinity" => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    let based = |prefix: [&str; 2], base: u32| {
        let digits = prefix.iter().find_map(|prefix| text.strip_prefix(prefix))?;
        let add = |sum: f64, digit: char| Some(sum * f64::from(base) + f64::from(digit.to_digit(base)?));
        (!digits.is_empty()).then(|| digits.chars().try_fold(0.0, add))
    };
    let based = based(["0x", "0X"], 16).or_else(|| based(["0o", "0O"], 8)).or_else(|| based(["0b", "0B"], 2));
    if let Some(number) = based {
        return number;
    }
    // Rust knows other names of what is no number, or infinite.
    let is_decimal = text.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
    is_decimal.then(|| text.parse().ok()).flatten()
}

/// What follows `@`. All of it has to be a number, and what it begins with of digits and points counts.
fn sample_rate(field: &[u8]) -> Option<f64> {
    let text = field.strip_prefix(b"@").filter(|text| !text.is_empty())?;
    number(text)?;
    let end = text.iter().position(|b| !b.is_ascii_digit() && *b != b'.').unwrap_or(text.len());
    std::str::from_utf8(&text[..end]).ok()?.parse().ok()
}
