//! Diagnostics for machines: one JSON object a line.

use serde_json::{Value, json};
use weir_spec::{Diagnostic, Severity, Span};

use crate::sources::Sources;
use crate::text::Lines;

/// Line and column of both ends, in the file that a place is in. `lines` are those of all sources.
pub fn position(sources: &Sources, lines: &Lines, span: Span) -> ((usize, usize), (usize, usize)) {
    let (before, _) = lines.position(sources.file(span.start).span.start);
    let ((line, column), (end_line, end_column)) = (lines.position(span.start), lines.position(span.end));
    ((line - before + 1, column), (end_line - before + 1, end_column))
}

/// One diagnostic as an object; lines and columns count from 1, columns in characters.
pub fn object(sources: &Sources, lines: &Lines, diagnostic: &Diagnostic) -> Value {
    let severity = match diagnostic.severity() {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let place = |span: Span| {
        let ((line, column), (end_line, end_column)) = position(sources, lines, span);
        (line, column, end_line, end_column)
    };
    let file = sources.file(diagnostic.span().start).name.as_str();
    let (line, column, end_line, end_column) = place(diagnostic.span());
    let label = |label: &weir_spec::Label| {
        let (line, column, end_line, end_column) = place(label.span);
        json!({
            "file": sources.file(label.span.start).name,
            "line": line, "column": column, "end_line": end_line, "end_column": end_column,
            "text": label.text,
        })
    };
    json!({
        "code": diagnostic.code.0,
        "severity": severity,
        "title": diagnostic.title,
        "file": file,
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
        "labels": diagnostic.labels.iter().map(label).collect::<Vec<_>>(),
        "help": diagnostic.help,
        "replacement": diagnostic.replacement,
    })
}

/// `file:line:column: error[E0301]: title`.
pub fn short(sources: &Sources, lines: &Lines, diagnostic: &Diagnostic) -> String {
    let ((line, column), _) = position(sources, lines, diagnostic.span());
    let file = &sources.file(diagnostic.span().start).name;
    let severity = if diagnostic.is_error() { "error" } else { "warning" };
    format!("{file}:{line}:{column}: {severity}[{}]: {}", diagnostic.code.0, diagnostic.title)
}

/// A line that GitHub Actions turns into an annotation.
pub fn github(sources: &Sources, lines: &Lines, diagnostic: &Diagnostic) -> String {
    let ((line, column), (end_line, end_column)) = position(sources, lines, diagnostic.span());
    let file = &sources.file(diagnostic.span().start).name;
    let severity = if diagnostic.is_error() { "error" } else { "warning" };
    let title = diagnostic.title.replace('%', "%25").replace('\n', "%0A");
    format!(
        "::{severity} file={file},line={line},col={column},endLine={end_line},endColumn={end_column},title={}::{title}",
        diagnostic.code.0
    )
}
