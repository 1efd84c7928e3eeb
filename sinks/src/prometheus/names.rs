//! Names and labels as Prometheus takes them.

use std::collections::{BTreeMap, HashSet};

/// A metric's name: letters, digits, `_` and `:`; anything else becomes `_`.
pub fn metric(name: &str) -> String {
    plain(name, true)
}

/// A label's name: without `:`, and not of the reserved form `__x`.
pub fn label(name: &str) -> String {
    let name = plain(name, false);
    // A histogram's buckets have a label of that name of their own.
    if name == "le" {
        return "le_".to_string();
    }
    match name.strip_prefix("__") {
        Some(rest) => format!("_{}", rest.trim_start_matches('_')),
        None => name,
    }
}

fn plain(name: &str, colon: bool) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || (c == ':' && colon);
    let mut plain: String = name.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    if plain.is_empty() || plain == "_total" || plain.starts_with(|c: char| c.is_ascii_digit()) {
        plain.insert(0, '_');
    }
    plain
}

/// Tags as labels. A tag without value is `true`; values of one key are joined, as Datadog has several
/// and Prometheus one.
pub fn labels<'a>(tags: impl Iterator<Item = &'a str>) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for tag in tags {
        let (key, value) = match tag.split_once(':') {
            Some((key, value)) if !value.is_empty() => (key, value),
            _ => (tag.trim_end_matches(':'), "true"),
        };
        labels.entry(label(key)).or_default().push(value);
    }
    let joined = |mut values: Vec<&str>| {
        let mut seen = HashSet::new();
        values.retain(|value| seen.insert(*value));
        values.join(",")
    };
    labels.into_iter().map(|(label, values)| (label, joined(values))).collect()
}

/// Labels as they are written, between the braces.
pub fn written(labels: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (name, value) in labels {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        escape(value, &mut text);
        text.push('"');
    }
    text
}

/// A label's value between quotes.
fn escape(value: &str, into: &mut String) {
    for c in value.chars() {
        match c {
            '\\' => into.push_str("\\\\"),
            '"' => into.push_str("\\\""),
            '\n' => into.push_str("\\n"),
            c => into.push(c),
        }
    }
}

/// Units that are measured in. What is counted, as `thread`, stands in no name.
const MEASURES: &[&str] = &["byte", "second", "millisecond", "microsecond", "nanosecond"];

/// A unit as it stands at the end of a name: in the plural, as OpenMetrics writes it.
pub fn unit(unit: &str) -> Option<String> {
    let one = unit.strip_suffix('s').unwrap_or(unit);
    MEASURES.contains(&one).then(|| format!("{one}s"))
}

/// Whether a name ends in its unit, as OpenMetrics wants it where a unit is told: `_seconds`, not `milliseconds`.
pub fn says_unit(name: &str, unit: &str) -> bool {
    name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_what_prometheus_takes() {
        assert_eq!(metric("runtime.dotnet.gc.size"), "runtime_dotnet_gc_size");
        assert_eq!(metric("9lives"), "_9lives");
        assert_eq!(metric("名前"), "__");
        assert_eq!(label("kube:pod"), "kube_pod");
        assert_eq!(label("__name__"), "_name__");
        let all = labels(["env:prod", "env:test", "bare", "empty:", "url:a:b"].into_iter());
        let all: Vec<_> = all.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(all, ["bare=true", "empty=true", "env=prod,test", "url=a:b"]);
        assert_eq!(unit("millisecond").as_deref(), Some("milliseconds"));
        assert_eq!(unit("thread"), None);
    }
}
