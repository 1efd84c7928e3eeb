//! Configurations of other tools, pasted in: said at once, instead of a hundred syntax errors.

use weir_spec::{Diagnostic, Span};

use crate::codes;

/// What tells a tool's configuration: its name, and lines that begin it.
const TOOLS: &[(&str, &[&str])] = &[
    ("a Vector configuration", &["[sources.", "[transforms.", "[sinks.", "sources:", "sinks:", "transforms:"]),
    ("an OpenTelemetry Collector configuration", &["receivers:", "exporters:", "processors:"]),
    ("a Datadog Agent configuration", &["api_key:", "dd_url:", "dogstatsd_port:", "use_dogstatsd:"]),
    ("a Telegraf configuration", &["[[inputs.", "[[outputs.", "[agent]"]),
];

/// What a pipeline of the same purpose looks like.
const INSTEAD: &str = "a pipeline reads like this:\n\n    pcap(\"capture.pcap\") | biflow | stdout";

/// Whether the text is another tool's, by its first lines in column 1.
pub fn recognise(source: &str) -> Option<Diagnostic> {
    let mut offset = 0;
    for line in source.split_inclusive('\n') {
        let text = line.trim_end();
        let known = TOOLS.iter().find(|(_, begins)| begins.iter().any(|b| text.starts_with(b)));
        if let Some((tool, _)) = known {
            let span = Span::new(offset, offset + text.len());
            let title = format!("this is {tool}, not a pipeline");
            return Some(Diagnostic::new(codes::FOREIGN_CONFIG, span, title).help(INSTEAD));
        }
        let yaml = text == "---" || text.starts_with("%YAML");
        if yaml {
            let span = Span::new(offset, offset + text.len());
            let title = "this is YAML, not a pipeline";
            return Some(Diagnostic::new(codes::FOREIGN_CONFIG, span, title).help(INSTEAD));
        }
        offset += line.len();
    }
    None
}
