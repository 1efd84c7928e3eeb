//! Plain StatsD, as Etsy's server reads it: several `value|type` pairs a line, relative gauges, tags
//! folded into the name by nobody here.

use weir_spec::kinds::enums::metric_kind;

use super::message::{BAD_LINE, Metric, Origin, Refused};
use super::number::float;

/// Each pair of a line, or why it is none.
pub fn line(line: &[u8]) -> impl Iterator<Item = Result<Metric<'_>, Refused>> {
    let colon = memchr::memchr(b':', line).filter(|colon| *colon > 0);
    let (name, rest) = colon.map_or((line, &line[..0]), |colon| (&line[..colon], &line[colon + 1..]));
    // `|#` ends the pairs: everything behind it are tags, which may have colons.
    let (pairs, tags) = match memchr::memmem::find(rest, b"|#") {
        Some(at) => (&rest[..at], Some(&rest[at + 2..]).filter(|tags| !tags.is_empty())),
        None => (rest, None),
    };
    // Without a colon there is one pair, an empty one, which is refused.
    pairs.split(|b| *b == b':').map(move |pair| one(name, pair, tags))
}

fn one<'a>(name: &'a [u8], pair: &'a [u8], tags: Option<&'a [u8]>) -> Result<Metric<'a>, Refused> {
    let mut parts = pair.split(|b| *b == b'|');
    let (Some(value), Some(word), rate, None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(BAD_LINE);
    };
    let is_signed = matches!(value.first(), Some(b'+' | b'-'));
    let kind = match word {
        b"g" if is_signed => metric_kind::GAUGE_DELTA,
        b"g" => metric_kind::GAUGE,
        b"s" => metric_kind::SET,
        b"ms" => metric_kind::TIMING,
        // Every other type counts.
        b"" => return Err(BAD_LINE),
        _ => metric_kind::COUNTER,
    };
    let sample_rate = match rate {
        None => 1.0,
        Some([b'@', digits @ ..]) => float(digits).filter(|rate| *rate >= 0.0).ok_or(BAD_LINE)?,
        Some(_) => return Err(BAD_LINE),
    };
    let is_good = match (kind, float(value)) {
        (metric_kind::SET, _) => !value.is_empty(),
        (metric_kind::TIMING, Some(value)) => value >= 0.0,
        (_, Some(value)) => value.is_finite(),
        (_, None) => false,
    };
    if !is_good {
        return Err(BAD_LINE);
    }
    Ok(Metric { name, kind, values: value, sample_rate, timestamp: None, tags, origin: Origin::default() })
}
