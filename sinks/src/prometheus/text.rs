//! The exposition: Prometheus' text form 0.0.4, and OpenMetrics 1.0.

use std::fmt::Write;

use super::names::says_unit;
use super::registry::{Family, Registry, State, Type};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    Classic,
    OpenMetrics,
}

impl Form {
    pub const ALL: [Form; 2] = [Form::Classic, Form::OpenMetrics];

    /// What a scraper that accepts these types is given: OpenMetrics, if it takes that at all.
    pub fn asked_for(accept: &str) -> Form {
        let takes_open = accept.split(',').any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_open = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text"));
            let quality = |part: &str| part.strip_prefix("q=").and_then(|quality| quality.parse::<f64>().ok());
            is_open && parts.find_map(quality).is_none_or(|quality| quality > 0.0)
        });
        if takes_open { Form::OpenMetrics } else { Form::Classic }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Form::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Form::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Everything that is exposed.
pub fn write(registry: &Registry, form: Form) -> String {
    let mut out = String::new();
    for (name, family) in &registry.families {
        self::family(name, family, form, &mut out);
    }
    if form == Form::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

fn family(name: &str, family: &Family, form: Form, out: &mut String) {
    let word = match family.ty {
        Type::Counter => "counter",
        Type::Gauge => "gauge",
        Type::Histogram => "histogram",
    };
    // A counter's samples end in `_total`, its family does so in the classic form only.
    let total = if family.ty == Type::Counter && !name.ends_with("_total") { "_total" } else { "" };
    let (called, sample) = match form {
        Form::Classic => (format!("{name}{total}"), format!("{name}{total}")),
        Form::OpenMetrics => {
            let called = if family.ty == Type::Counter { name.strip_suffix("_total").unwrap_or(name) } else { name };
            (called.to_string(), format!("{name}{total}"))
        }
    };
    let mut help = String::new();
    family.meaning.chars().for_each(|c| match c {
        '\\' => help.push_str("\\\\"),
        '\n' => help.push_str("\\n"),
        '"' if form == Form::OpenMetrics => help.push_str("\\\""),
        c => help.push(c),
    });
    let _ = writeln!(out, "# HELP {called} {help}");
    let _ = writeln!(out, "# TYPE {called} {word}");
    if let Some(unit) = family.unit.as_ref().filter(|unit| form == Form::OpenMetrics && says_unit(&called, unit)) {
        let _ = writeln!(out, "# UNIT {called} {unit}");
    }
    for (labels, series) in &family.series {
        match &series.state {
            State::Number(value) => line(&sample, labels, None, *value, out),
            State::Histogram(histogram) => {
                let bucket = format!("{sample}_bucket");
                for (bound, count) in histogram.cumulative() {
                    line(&bucket, labels, Some(&number(bound)), count as f64, out);
                }
                line(&bucket, labels, Some("+Inf"), histogram.count as f64, out);
                line(&format!("{sample}_sum"), labels, None, histogram.sum, out);
                line(&format!("{sample}_count"), labels, None, histogram.count as f64, out);
            }
        }
    }
}

fn line(name: &str, labels: &str, bound: Option<&str>, value: f64, out: &mut String) {
    let value = number(value);
    let _ = match (labels, bound) {
        ("", None) => writeln!(out, "{name} {value}"),
        (labels, None) => writeln!(out, "{name}{{{labels}}} {value}"),
        ("", Some(bound)) => writeln!(out, "{name}{{le=\"{bound}\"}} {value}"),
        (labels, Some(bound)) => writeln!(out, "{name}{{{labels},le=\"{bound}\"}} {value}"),
    };
}

fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".into(),
        f64::NEG_INFINITY => "-Inf".into(),
        value if value.is_nan() => "NaN".into(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::Form;

    #[test]
    fn scrapers_get_what_they_accept() {
        let open =
            ["application/openmetrics-text", "text/plain;q=0.1, Application/OpenMetrics-Text; version=1.0.0;q=0.8"];
        assert!(open.iter().all(|accept| Form::asked_for(accept) == Form::OpenMetrics));
        let classic = ["", "*/*", "text/plain", "application/openmetrics-text; q=0", "application/openmetrics-texts"];
        assert!(classic.iter().all(|accept| Form::asked_for(accept) == Form::Classic));
    }
}
