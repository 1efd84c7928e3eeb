//! One message of the DogStatsD protocol, 1.0 to 1.6, as the Datadog Agent reads it.
//!
//! A metric is scanned by hand: it is the hottest code of the program, and `nom` costs twice the time
//! (docs/design.md). What follows the first two fields may come in any order, may be empty and may be
//! unknown; the last of a kind wins.

use nom::bytes::complete::{tag, take, take_till, take_till1};
use nom::combinator::{all_consuming, map_opt, rest, verify};
use nom::sequence::{preceded, separated_pair, terminated};
use nom::{IResult, Parser};
use weir_spec::component::ReasonSpec;
use weir_spec::kinds::enums::{ALERT_TYPE, CARDINALITY, PRIORITY, metric_kind};
use weir_spec::option::OptionError;
use weir_spec::types::Enumeration;

use super::number::float;
use super::scan::{Line, Mark, find};

/// Why a message was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused {
    /// In one word, as the ledger of rejected lines has it.
    pub reason: &'static str,
    pub detail: &'static str,
}

macro_rules! refusals {
    ($($name:ident = $reason:literal, $detail:literal;)*) => {
        $( pub const $name: Refused = Refused { reason: $reason, detail: $detail }; )*
        /// Every way in which a message is refused.
        pub const REFUSED: &[ReasonSpec] = &[$(ReasonSpec { name: $reason, doc: $detail }),*];
    };
}
refusals! {
    NO_TYPE = "no_field_separator", "no `|` and type behind the value";
    NO_VALUE = "no_value", "no `:` and value behind the name";
    EMPTY_NAME = "empty_name", "nothing before the `:`";
    EMPTY_VALUE = "empty_value", "nothing between the `:` and the `|`";
    BAD_TYPE = "invalid_type", "the type is none of c, g, s, h, ms, d";
    BAD_VALUE = "invalid_value", "a value is no number";
    BAD_RATE = "invalid_sample_rate", "what follows `@` is no number";
    BAD_TIMESTAMP = "invalid_timestamp", "what follows `T` is no time in seconds from 1 on";
    BAD_EVENT = "invalid_event", "the event is shorter than it says, or its head is no `_e{length,length}:`";
    EMPTY_TITLE = "empty_title", "the event has no title";
    BAD_CHECK = "invalid_service_check", "a service check is `_sc|name|status`, with a status from 0 to 3";
    UNTERMINATED = "unterminated", "the line does not end in a line feed";
    BAD_LINE = "bad_line", "no `name:value|type`, with `@rate` behind it";
}

/// Who sent it, as the message says.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Origin<'a> {
    /// `c:`, as sent.
    pub local: Option<&'a [u8]>,
    /// `e:`, as sent.
    pub external: Option<&'a [u8]>,
    /// `card:`, as the byte of its column.
    pub cardinality: Option<u8>,
    /// Whether there was `card:`, known or not.
    pub has_cardinality: bool,
}

/// All of its text is UTF-8.
#[derive(Clone, PartialEq, Debug)]
pub struct Metric<'a> {
    pub name: &'a [u8],
    /// A byte of `kind`.
    pub kind: u8,
    /// Numbers with colons between them, or one member of a set.
    pub values: &'a [u8],
    pub sample_rate: f64,
    /// Seconds since the epoch.
    pub timestamp: Option<i64>,
    /// Joined by commas, as sent; absent without the field or with nothing in it.
    pub tags: Option<&'a [u8]>,
    pub origin: Origin<'a>,
}

#[derive(Clone, PartialEq, Debug, Default)]
pub struct Event<'a> {
    /// With `\n` still in two bytes, as the text.
    pub title: &'a [u8],
    pub text: &'a [u8],
    pub timestamp: Option<i64>,
    pub priority: u8,
    pub alert_type: u8,
    pub aggregation_key: Option<&'a [u8]>,
    pub source_type: Option<&'a [u8]>,
    pub host: Option<&'a [u8]>,
    pub tags: Option<&'a [u8]>,
    pub origin: Origin<'a>,
}

#[derive(Clone, PartialEq, Debug, Default)]
pub struct Check<'a> {
    pub name: &'a [u8],
    pub status: u8,
    pub message: Option<&'a [u8]>,
    pub timestamp: Option<i64>,
    pub host: Option<&'a [u8]>,
    pub tags: Option<&'a [u8]>,
    pub origin: Origin<'a>,
}

/// Cuts at the first `|`: what stands before it, and what follows it.
#[inline]
fn cut(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    match find(b'|', bytes) {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    }
}

/// Where the parts of a metric line are that each has.
pub struct Head {
    pub colon: usize,
    /// Behind the values.
    pub bar: usize,
    /// A byte of `kind`.
    pub kind: u8,
    /// Where what follows the type begins.
    pub fields: usize,
}

/// Reads a metric line as far as its type.
#[inline(always)]
pub fn head(line: &Line) -> Result<Head, Refused> {
    let text = line.bytes;
    let Some(bar) = line.find(Mark::Bar, 0, text.len()) else { return Err(NO_TYPE) };
    // In the whole line, which is long enough to be looked through quickly.
    let Some(colon) = find(b':', text).filter(|at| *at < bar) else { return Err(NO_VALUE) };
    if colon == 0 {
        return Err(EMPTY_NAME);
    }
    if colon + 1 == bar {
        return Err(EMPTY_VALUE);
    }
    let (kind, kind_bytes) = match &text[bar + 1..] {
        [b'm', b's', ..] => (metric_kind::TIMING, 2),
        [letter, ..] => (KINDS[usize::from(*letter)].ok_or(BAD_TYPE)?, 1),
        [] => return Err(BAD_TYPE),
    };
    Ok(Head { colon, bar, kind, fields: bar + 1 + kind_bytes })
}

/// Reads a metric line. Without `timestamps`, `T` is a field that is not known.
// Called in one place, where what it gives is taken apart at once.
#[inline(always)]
pub fn metric<'a>(line: &Line<'a>, timestamps: bool) -> Result<Metric<'a>, Refused> {
    let text = line.bytes;
    let Head { colon, bar, kind, fields } = head(line)?;
    let (name, values) = (&text[..colon], &text[colon + 1..bar]);
    // Each field is behind a bar.
    let mut next = fields;
    let mut metric =
        Metric { name, kind, values, sample_rate: 1.0, timestamp: None, tags: None, origin: Origin::default() };
    while next < text.len() {
        if text[next] != b'|' {
            return Err(BAD_TYPE);
        }
        let start = next + 1;
        next = line.find(Mark::Bar, start, text.len()).unwrap_or(text.len());
        match &text[start..next] {
            [b'#', tags @ ..] => metric.tags = (!tags.is_empty()).then_some(tags),
            [b'@', rate @ ..] => metric.sample_rate = float(rate).ok_or_else(|| first(&metric, BAD_RATE))?,
            [b'T', time @ ..] if timestamps => {
                metric.timestamp = Some(seconds(time).ok_or_else(|| first(&metric, BAD_TIMESTAMP))?);
            }
            field => of_origin(field, &mut metric.origin),
        }
    }
    Ok(metric)
}

/// What is said of a metric with a bad field: its values come before.
#[cold]
fn first(metric: &Metric, field: Refused) -> Refused {
    match metric.kind {
        metric_kind::SET => field,
        _ => values(metric.values, &mut Vec::new()).err().unwrap_or(field),
    }
}

/// The type that each letter says. Looked up, because where a `match` jumps to would be guessed wrong half the time.
const KINDS: [Option<u8>; 256] = {
    let mut kinds = [None; 256];
    kinds[b'c' as usize] = Some(metric_kind::COUNTER);
    kinds[b'g' as usize] = Some(metric_kind::GAUGE);
    kinds[b's' as usize] = Some(metric_kind::SET);
    kinds[b'h' as usize] = Some(metric_kind::HISTOGRAM);
    kinds[b'd' as usize] = Some(metric_kind::DISTRIBUTION);
    kinds
};

/// Whole seconds from 1 on, as far as nanoseconds of them can be held.
fn seconds(digits: &[u8]) -> Option<i64> {
    let seconds: i64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (1..=i64::MAX / 1_000_000_000).contains(&seconds).then_some(seconds)
}

/// `c:`, `e:` or `card:`; whatever else there is, is of a later version and is not read.
fn of_origin<'a>(field: &'a [u8], origin: &mut Origin<'a>) {
    match field {
        [b'c', b':', local @ ..] => origin.local = Some(local),
        [b'e', b':', external @ ..] => origin.external = Some(external),
        [b'c', b'a', b'r', b'd', b':', word @ ..] => {
            origin.cardinality = cardinality(word);
            // An empty one is not said, and a tag may say it.
            origin.has_cardinality = !word.is_empty();
        }
        _ => {}
    }
}

/// What a user is told who wrote a tag that is none.
pub const TAG_FORM: &str = "a tag is written \"key:value\"";

/// Whether a tag that a user wrote is one by itself.
pub fn is_tag(text: &str) -> bool {
    !text.is_empty() && !text.contains([',', '|', '\n'])
}

/// The tags that every row is to have, as an option says.
pub fn check_tags(tags: &[String]) -> Result<(), OptionError> {
    match tags.iter().find(|tag| !is_tag(tag)) {
        Some(tag) => Err(OptionError::new("tags", format!("`{tag}` is no tag")).help(TAG_FORM)),
        None => Ok(()),
    }
}

pub fn cardinality(word: &[u8]) -> Option<u8> {
    match std::str::from_utf8(word).ok()?.to_ascii_lowercase().as_str() {
        "orch" => (CARDINALITY.parse)("orchestrator"),
        word => (CARDINALITY.parse)(word),
    }
}

/// Numbers with colons between them, appended; what is empty between two colons is left out.
#[inline]
pub fn values(text: &[u8], into: &mut Vec<f64>) -> Result<(), Refused> {
    match float(text) {
        Some(value) => {
            into.push(value);
            Ok(())
        }
        None => several(text, into),
    }
}

fn several(text: &[u8], into: &mut Vec<f64>) -> Result<(), Refused> {
    let before = into.len();
    for value in text.split(|b| *b == b':').filter(|v| !v.is_empty()) {
        let Some(value) = float(value) else {
            into.truncate(before);
            return Err(BAD_VALUE);
        };
        into.push(value);
    }
    if into.len() == before { Err(EMPTY_VALUE) } else { Ok(()) }
}

/// What stands between two bars, or behind the last one.
fn field(input: &[u8]) -> IResult<&[u8], &[u8]> {
    preceded(take(1usize), take_till(|byte| byte == b'|')).parse(input)
}

/// A number as Go's `Atoi` takes it: a sign and zeros before it are no mistake.
fn length(input: &[u8]) -> IResult<&[u8], usize> {
    let number = |digits| std::str::from_utf8(digits).ok()?.parse::<i64>().ok()?.try_into().ok();
    map_opt(take_till(|byte| byte == b','), number).parse(input)
}

/// The lengths of title and text, and what stands behind the head. The Agent does not look at the last byte of the
/// head.
fn event_lengths(line: &[u8]) -> IResult<&[u8], (usize, usize)> {
    /// `1,1`
    const LENGTHS_BYTES_MIN: usize = 3;
    let (body, head) = terminated(preceded(tag("_e{"), take_till(|byte| byte == b':')), tag(":")).parse(line)?;
    let lengths = head.split_last().map_or(head, |(_, lengths)| lengths);
    let both = all_consuming(separated_pair(length, tag(","), length));
    let (_, lengths) = verify(rest, |l: &[u8]| l.len() >= LENGTHS_BYTES_MIN).and_then(both).parse(lengths)?;
    Ok((body, lengths))
}

/// Title and text, and what follows. Nobody looks at the byte between them.
fn event_parts(body: &[u8], title: usize, text: usize) -> IResult<&[u8], (&[u8], &[u8])> {
    (terminated(take(title), take(1usize)), take(text)).parse(body)
}

/// When an event or a check was, in seconds; what cannot be held is none, and zero says that it is now.
fn when(digits: &[u8]) -> Option<Option<i64>> {
    const SECONDS_MAX: i64 = i64::MAX / 1_000_000_000;
    let seconds: i64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (-SECONDS_MAX..=SECONDS_MAX).contains(&seconds).then_some((seconds != 0).then_some(seconds))
}

/// A host that is empty is none.
fn host(text: &[u8]) -> Option<&[u8]> {
    (!text.is_empty()).then_some(text)
}

/// Reads a line that begins with `_e{`.
pub fn event(line: &[u8]) -> Result<Event<'_>, Refused> {
    let (body, (title, text)) = event_lengths(line).map_err(|_| BAD_EVENT)?;
    let (behind, (title, text)) = event_parts(body, title, text).map_err(|_| BAD_EVENT)?;
    if title.is_empty() {
        return Err(EMPTY_TITLE);
    }
    let mut event = Event { title, text, ..Event::default() };
    // The first field may stand right behind the text.
    let mut fields = Some(behind);
    while let Some(here) = fields {
        let (field, next) = cut(here);
        fields = next;
        match field {
            [b'd', b':', time @ ..] => event.timestamp = when(time).unwrap_or(event.timestamp),
            [b'h', b':', name @ ..] => event.host = host(name),
            [b'k', b':', key @ ..] => event.aggregation_key = Some(key),
            [b's', b':', source @ ..] => event.source_type = Some(source),
            [b'p', b':', word @ ..] => event.priority = known(&PRIORITY, word).unwrap_or(event.priority),
            [b't', b':', word @ ..] => event.alert_type = known(&ALERT_TYPE, word).unwrap_or(event.alert_type),
            [b'#', tags @ ..] => event.tags = (!tags.is_empty()).then_some(tags),
            _ => of_origin(field, &mut event.origin),
        }
    }
    Ok(event)
}

/// A word that its enumeration has; another is no reason to lose the event.
fn known(words: &Enumeration, word: &[u8]) -> Option<u8> {
    (words.parse)(std::str::from_utf8(word).ok()?)
}

/// `_sc`, a byte that nobody checks, name and status.
fn check_parts(line: &[u8]) -> IResult<&[u8], (&[u8], u8)> {
    let name = preceded((tag("_sc"), take(1usize)), take_till1(|byte| byte == b'|'));
    let status = map_opt(field, |word| match word {
        [digit @ b'0'..=b'3'] => Some(digit - b'0'),
        _ => None,
    });
    (name, status).parse(line)
}

/// Reads a line that begins with `_sc`.
pub fn check(line: &[u8]) -> Result<Check<'_>, Refused> {
    // Whatever stands behind `_sc`, there are two bars.
    if memchr::memchr_iter(b'|', line).nth(1).is_none() {
        return Err(BAD_CHECK);
    }
    let (mut input, (name, status)) = check_parts(line).map_err(|_| BAD_CHECK)?;
    let mut check = Check { name, status, ..Check::default() };
    while let Ok((after, field)) = field(input) {
        input = after;
        match field {
            [b'd', b':', time @ ..] => check.timestamp = when(time).unwrap_or(check.timestamp),
            [b'h', b':', name @ ..] => check.host = host(name),
            [b'm', b':', message @ ..] => check.message = Some(message),
            [b'#', tags @ ..] => check.tags = (!tags.is_empty()).then_some(tags),
            _ => of_origin(field, &mut check.origin),
        }
    }
    Ok(check)
}
