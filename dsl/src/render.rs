//! Diagnostics for people, with the lines they are about.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use weir_spec::{Diagnostic, Severity};

use crate::sources::{SourceFile, Sources};

/// Renders one diagnostic; colours only where asked.
pub fn human(sources: &Sources, diagnostic: &Diagnostic, color: bool) -> String {
    let level = match diagnostic.severity() {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(diagnostic.title.as_str()).id(diagnostic.code.0);
    let snippets = files(sources, diagnostic).into_iter().map(|file| snippet(sources, file, diagnostic));
    let mut group: Group = title.elements(snippets);
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let text = renderer.render(&[group]);
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// The files that a diagnostic is about, that of its first label first.
fn files<'a>(sources: &'a Sources, diagnostic: &Diagnostic) -> Vec<&'a SourceFile> {
    let mut files: Vec<&SourceFile> = Vec::new();
    for label in &diagnostic.labels {
        let file = sources.file(label.span.start);
        if !files.iter().any(|known| known.span == file.span) {
            files.push(file);
        }
    }
    files
}

fn snippet<'a>(
    sources: &'a Sources,
    file: &'a SourceFile,
    diagnostic: &'a Diagnostic,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let text = sources.text_of(file);
    let mut snippet = Snippet::source(text).path(file.name.as_str());
    for (at, label) in diagnostic.labels.iter().enumerate() {
        if sources.file(label.span.start).span != file.span {
            continue;
        }
        let kind = if at == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
        let end = label.span.end.saturating_sub(file.span.start).min(text.len());
        let start = (label.span.start - file.span.start).min(end);
        let mark = kind.span(start..end);
        snippet = snippet.annotation(if label.text.is_empty() { mark } else { mark.label(label.text.as_str()) });
    }
    snippet
}
