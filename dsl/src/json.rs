//! Diagnostics for machines: one JSON object a line.

use serde_json::{Value, json};
use weir_spec::{Diagnostic, Severity, Span};

use crate::text::Lines;

/// One diagnostic as an object; lines and columns count from 1, columns in characters.
pub fn object(file: &str, lines: &Lines, diagnostic: &Diagnostic) -> Value {
    let severity = match diagnostic.severity() {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let place = |span: Span| {
        let ((line, column), (end_line, end_column)) = (lines.position(span.start), lines.position(span.end));
        (line, column, end_line, end_column)
    };
    let (line, column, end_line, end_column) = place(diagnostic.span());
    let label = |label: &weir_spec::Label| {
        let (line, column, end_line, end_column) = place(label.span);
        json!({
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
pub fn short(file: &str, lines: &Lines, diagnostic: &Diagnostic) -> String {
    let (line, column) = lines.position(diagnostic.span().start);
    let severity = if diagnostic.severity() == Severity::Error { "error" } else { "warning" };
    format!("{file}:{line}:{column}: {severity}[{}]: {}", diagnostic.code.0, diagnostic.title)
}

/// A line that GitHub Actions turns into an annotation.
pub fn github(file: &str, lines: &Lines, diagnostic: &Diagnostic) -> String {
    let ((line, column), (end_line, end_column)) =
        (lines.position(diagnostic.span().start), lines.position(diagnostic.span().end));
    let severity = if diagnostic.severity() == Severity::Error { "error" } else { "warning" };
    let title = diagnostic.title.replace('%', "%25").replace('\n', "%0A");
    format!(
        "::{severity} file={file},line={line},col={column},endLine={end_line},endColumn={end_column},title={}::{title}",
        diagnostic.code.0
    )
}
