//! `weir check --fix`: what the messages say to write instead, written.

use std::collections::BTreeMap;

use weir_dsl::Checked;
use weir_spec::Diagnostic;

use super::pipeline::{Text, check};

/// Rounds after which what is left is not mended by writing what messages say.
const ROUNDS_MAX: usize = 10;

/// The text mended as far as its messages say how, and how many places were. A round that leaves as
/// many errors as before is taken back.
pub fn fix(text: &mut Text, params: &BTreeMap<String, String>) -> usize {
    let mut fixed = 0;
    for _ in 0..ROUNDS_MAX {
        let checked = check(text, params);
        let (bytes, places) = apply(&checked);
        if places == 0 {
            break;
        }
        let before = std::mem::replace(&mut text.bytes, bytes);
        if weight(&check(text, params)) >= weight(&checked) {
            text.bytes = before;
            break;
        }
        fixed += places;
    }
    fixed
}

/// Errors, then warnings.
fn weight(checked: &Checked) -> (usize, usize) {
    let errors = checked.diagnostics.iter().filter(|d| d.is_error()).count();
    (errors, checked.diagnostics.len() - errors)
}

/// The text with every replacement that does not overlap another, and their number.
fn apply(checked: &Checked) -> (Vec<u8>, usize) {
    let main = checked.sources.file(0);
    let source = checked.sources.text_of(main);
    let mut edits: Vec<&Diagnostic> =
        checked.diagnostics.iter().filter(|d| d.replacement.is_some() && main.span.contains(d.span())).collect();
    edits.sort_by_key(|d| (d.span().start, d.span().end));
    let (mut out, mut at, mut places) = (String::new(), 0, 0);
    for edit in edits {
        let (span, Some(with)) = (edit.span(), &edit.replacement) else { continue };
        if span.start < at || !source.is_char_boundary(span.start) || !source.is_char_boundary(span.end) {
            continue;
        }
        out += &source[at..span.start];
        out += with;
        at = span.end;
        places += 1;
    }
    out += &source[at..];
    (out.into_bytes(), places)
}
