//! Diagnostics for people, with the lines they are about.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use weir_spec::{Diagnostic, Severity};

/// Renders one diagnostic; colours only where asked.
pub fn human(file: &str, source: &str, diagnostic: &Diagnostic, color: bool) -> String {
    let level = match diagnostic.severity() {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut snippet = Snippet::source(source).path(file);
    for (at, label) in diagnostic.labels.iter().enumerate() {
        let kind = if at == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
        let end = label.span.end.min(source.len());
        let mark = kind.span(label.span.start.min(end)..end);
        snippet = snippet.annotation(if label.text.is_empty() { mark } else { mark.label(label.text.as_str()) });
    }
    let title = level.primary_title(diagnostic.title.as_str()).id(diagnostic.code.0);
    let mut group: Group = title.element(snippet);
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let text = renderer.render(&[group]);
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}
