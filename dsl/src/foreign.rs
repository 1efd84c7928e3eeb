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

/// What other tools call the parts that weir has, in their configurations: word, and the part here.
const PARTS: &[(&str, Part)] = &[
    ("file_source", Part::Source("ndjson(\"rows.ndjson\", as: { at: time, message: string })")),
    ("filelog", Part::Source("ndjson(\"rows.ndjson\", as: { at: time, message: string })")),
    ("tail", Part::Source("ndjson(\"rows.ndjson\", as: { at: time, message: string })")),
    ("stdin", Part::Source("ndjson(\"-\", as: { at: time, message: string })")),
    ("demo_logs", Part::Source("generate(flow)")),
    ("pcap", Part::Source("pcap(\"capture.pcap\")")),
    ("filter", Part::Stage("where message != \"\"")),
    ("remap", Part::Stage("set message = lower(message)")),
    ("route", Part::Stage("where message != \"\"")),
    ("reduce", Part::Stage("window(1m) { rows = count() }")),
    ("aggregate", Part::Stage("window(1m) { rows = count() }")),
    ("console", Part::Sink("stdout(ndjson)")),
    ("debug", Part::Sink("stdout(ndjson)")),
    ("logging", Part::Sink("stdout(ndjson)")),
    ("file", Part::Sink("file(\"out.ndjson\")")),
    ("blackhole", Part::Sink("blackhole")),
    ("nop", Part::Sink("blackhole")),
];

#[derive(Clone, Copy)]
enum Part {
    Source(&'static str),
    Stage(&'static str),
    Sink(&'static str),
}

/// Whether the text is another tool's, by its first lines in column 1.
pub fn recognise(source: &str) -> Option<Diagnostic> {
    let mut offset = 0;
    for line in source.split_inclusive('\n') {
        let text = line.trim_end();
        let known = TOOLS.iter().find(|(_, begins)| begins.iter().any(|b| text.starts_with(b)));
        let tool = known.map(|(tool, _)| *tool).or((text == "---" || text.starts_with("%YAML")).then_some("YAML"));
        if let Some(tool) = tool {
            let span = Span::new(offset, offset + text.len());
            let title = format!("this is {tool}, not a pipeline");
            let help = format!("here it would begin like this:\n\n    {}", instead(source));
            return Some(Diagnostic::new(codes::FOREIGN_CONFIG, span, title).help(help));
        }
        offset += line.len();
    }
    None
}

/// Lines of a pasted configuration that are looked at for its parts.
const LINES_MAX: usize = 2000;

/// The first pipe that a configuration would be, as far as its parts are known.
fn instead(source: &str) -> String {
    let (mut head, mut stages, mut sink) = (None, Vec::new(), None);
    let mut in_sources = false;
    for line in source.lines().take(LINES_MAX) {
        let line = line.trim();
        if line.starts_with("[sources") || line == "sources:" || line == "receivers:" || line.starts_with("[[inputs") {
            in_sources = true;
        } else if line.starts_with('[') || matches!(line, "sinks:" | "exporters:" | "transforms:" | "processors:") {
            in_sources = false;
        }
        let Some(word) = part_word(line) else { continue };
        let word = if word == "file" && in_sources { "file_source" } else { word };
        match PARTS.iter().find(|(name, _)| *name == word) {
            Some((_, Part::Source(text))) => drop(head.get_or_insert(*text)),
            Some((_, Part::Stage(text))) if !stages.contains(text) => stages.push(*text),
            Some((_, Part::Sink(text))) => drop(sink.get_or_insert(*text)),
            _ => {}
        }
    }
    let Some(head) = head else { return "pcap(\"capture.pcap\") | biflow | stdout".into() };
    let mut pipe = vec![head];
    pipe.extend(stages.into_iter().take(3));
    pipe.push(sink.unwrap_or("stdout"));
    pipe.join(" | ")
}

/// What a line names: `type = "file"`, `type: file`, `filelog:`, `[[inputs.tail]]`.
fn part_word(line: &str) -> Option<&str> {
    let value = line.strip_prefix("type").map(|rest| rest.trim_start_matches([' ', '=', ':']));
    let table = line.strip_prefix("[[").and_then(|rest| rest.trim_end_matches("]]").split_once('.')).map(|(_, w)| w);
    let key = line.strip_suffix(':').or_else(|| line.split_once(": ").map(|(key, _)| key));
    let word = value.or(table).or(key)?;
    let word = word.trim_matches(['"', '\'', ' ']);
    Some(word.split('/').next().unwrap_or(word))
}
