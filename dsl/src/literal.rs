//! Literals: strings with their escapes, numbers with their units, addresses.

use std::net::IpAddr;

use weir_spec::units::{UnitError, parse_quantity};
use weir_spec::value::{Cidr, Value, ip_bytes};
use weir_spec::{Diagnostic, Span};

use crate::codes;

/// The text of a string token, escapes resolved. The error is about one escape.
pub fn string(token: &str, span: Span) -> Result<String, Diagnostic> {
    let mut rest = token.strip_prefix('"').unwrap_or(token);
    rest = rest.strip_suffix('"').unwrap_or(rest);
    let mut offset = span.start + 1;
    let mut text = String::with_capacity(rest.len());
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let escape = &rest[at..];
        let Some((c, used)) = unescape(escape) else {
            let shown: String = escape.chars().take(2).collect();
            let place = Span::new(offset + at, offset + at + shown.len());
            return Err(Diagnostic::new(codes::BAD_STRING, place, format!("there is no escape `{shown}`"))
                .help("the escapes are \\n \\t \\\" \\\\ \\u{…}; r\"…\" takes everything as it stands"));
        };
        text.push(c);
        offset += at + used;
        rest = &escape[used..];
    }
    text.push_str(rest);
    Ok(text)
}

/// The character that an escape stands for, and how long the escape is.
fn unescape(escape: &str) -> Option<(char, usize)> {
    match escape.as_bytes().get(1)? {
        b'n' => Some(('\n', 2)),
        b't' => Some(('\t', 2)),
        b'"' => Some(('"', 2)),
        b'\\' => Some(('\\', 2)),
        b'u' => {
            let (digits, _) = escape.strip_prefix("\\u{")?.split_once('}')?;
            let c = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
            Some((c, digits.len() + 4))
        }
        _ => None,
    }
}

/// The text of `r"…"` or `r#"…"#`.
pub fn raw_string(token: &str) -> String {
    let inner = token.strip_prefix('r').unwrap_or(token).trim_matches('#');
    let inner = inner.strip_prefix('"').unwrap_or(inner);
    inner.strip_suffix('"').unwrap_or(inner).to_string()
}

/// A number token: `10`, `1m30s`, `256MiB`, `50%`, `10MB/s`.
pub fn number(token: &str, span: Span) -> Result<Value, Diagnostic> {
    let wrong = |title: String| Diagnostic::new(codes::BAD_NUMBER, span, title);
    match parse_quantity(token) {
        Ok(quantity) => Ok(quantity.into()),
        Err(UnitError::Range) => Err(wrong(format!("`{token}` does not fit into 64 bits"))),
        Err(UnitError::Unit { found, better: Some(better) }) => {
            let right = token.replacen(&found, better, 1);
            Err(wrong(format!("there is no unit `{found}`")).help(format!("write `{right}`")).replace(right))
        }
        Err(UnitError::Unit { found, better: None }) => Err(wrong(format!("there is no unit `{found}`"))
            .help("durations are ns us ms s m h d, sizes B kB MB GB TB KiB MiB GiB TiB")),
        Err(UnitError::Shape) => Err(wrong(format!("`{token}` is no number"))),
    }
}

/// `192.0.2.1` or `10.0.0.0/8`, also as strings and in IPv6.
pub fn address(token: &str, span: Span) -> Result<Value, Diagnostic> {
    parse_address(token).ok_or_else(|| {
        let kind = if token.contains('/') { "network" } else { "address" };
        Diagnostic::new(codes::BAD_NUMBER, span, format!("`{token}` is no IP {kind}"))
    })
}

pub fn parse_address(text: &str) -> Option<Value> {
    match text.contains('/') {
        true => Cidr::parse(text).map(Value::Cidr),
        false => text.parse::<IpAddr>().ok().map(|ip| Value::Ip(ip_bytes(ip))),
    }
}
