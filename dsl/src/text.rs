//! Bytes as text, and places in it.

use weir_spec::{Diagnostic, Span};

use crate::codes;

/// The text of a file; a byte-order mark stays, as a space.
pub fn decode(bytes: &[u8]) -> Result<&str, Diagnostic> {
    let whole = Span::new(0, 0);
    let wrong = |title: String| Diagnostic::new(codes::ENCODING, whole, title);
    if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] = bytes {
        return Err(wrong("this file is UTF-16".into()).help("save it as UTF-8"));
    }
    if let Some(at) = bytes.iter().position(|b| *b == 0) {
        return Err(wrong(format!("there is a NUL byte at offset {at}: this is no text"))
            .help("a pipeline is a text file in UTF-8"));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        wrong(format!("byte {:#04x} at offset {at} is not UTF-8", bytes[at])).help("save the file as UTF-8")
    })
}

/// Where lines begin, to turn offsets into lines and columns.
pub struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub fn new(text: &'a str) -> Lines<'a> {
        let after = text.match_indices('\n').map(|(at, _)| at + 1);
        Lines { text, starts: [0].into_iter().chain(after).collect() }
    }

    /// Line and column from 1; columns are characters, a byte-order mark counts for none.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[line - 1];
        let before = self.text.get(start..offset).unwrap_or("");
        (line, before.chars().filter(|c| *c != '\u{feff}').count() + 1)
    }
}
