//! Text that may be laid out on one line or on several (Wadler's pretty printer).

use super::WIDTH;

#[derive(Clone, Debug)]
pub enum Doc {
    Text(String),
    /// A space, or a new line where the group is broken.
    Line,
    /// A space, or a new line that is indented further by so much.
    LineIn(usize),
    /// A space, or an empty line where the group is broken.
    LineBlank,
    /// Nothing, or a new line where the group is broken.
    Soft,
    /// A new line in any case; breaks every group around it.
    Hard,
    /// The same, indented further by so much.
    HardIn(usize),
    /// The same with an empty line before.
    Blank,
    /// Only where the group is broken.
    IfBroken(String),
    Nest(usize, Vec<Doc>),
    Group(Vec<Doc>),
}

pub fn text(text: impl Into<String>) -> Doc {
    Doc::Text(text.into())
}

/// Lays a document out.
pub fn print(docs: &[Doc]) -> String {
    let mut printer = Printer { out: String::new(), column: 0, pending: None };
    printer.all(docs, 0, true, 0);
    printer.out
}

struct Printer {
    out: String,
    column: usize,
    /// An indent owed since the last new line: not written if the line stays empty.
    pending: Option<usize>,
}

impl Printer {
    /// `after` is the width of what follows on the same line and cannot be broken.
    fn all(&mut self, docs: &[Doc], indent: usize, broken: bool, after: usize) {
        for (at, doc) in docs.iter().enumerate() {
            let rest = rest_width(&docs[at + 1..], broken, after);
            self.one(doc, indent, broken, rest);
        }
    }

    fn one(&mut self, doc: &Doc, indent: usize, broken: bool, after: usize) {
        match doc {
            Doc::Text(text) => self.write(text),
            Doc::Line | Doc::LineIn(_) | Doc::LineBlank if !broken => self.write(" "),
            Doc::LineIn(more) | Doc::HardIn(more) => self.new_line(indent + more),
            Doc::Soft if !broken => {}
            Doc::Line | Doc::Soft | Doc::Hard => self.new_line(indent),
            Doc::Blank | Doc::LineBlank => {
                self.new_line(indent);
                self.new_line(indent);
            }
            Doc::IfBroken(text) => {
                if broken {
                    self.write(text);
                }
            }
            Doc::Nest(n, docs) => self.all(docs, indent + n, broken, after),
            Doc::Group(docs) => {
                let start = self.pending.unwrap_or(self.column);
                let fits = flat_width(docs).is_some_and(|width| start + width + after <= WIDTH);
                self.all(docs, indent, !fits, after);
            }
        }
    }

    fn write(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if let Some(indent) = self.pending.take() {
            self.out.extend(std::iter::repeat_n(' ', indent));
            self.column = indent;
        }
        self.out += text;
        match text.rsplit_once('\n') {
            Some((_, last)) => self.column = last.chars().count(),
            None => self.column += text.chars().count(),
        }
    }

    fn new_line(&mut self, indent: usize) {
        while self.out.ends_with(' ') {
            self.out.pop();
        }
        self.out.push('\n');
        self.pending = Some(indent);
    }
}

/// The width on one line; `None` if it cannot be on one.
fn flat_width(docs: &[Doc]) -> Option<usize> {
    let mut width = 0;
    for doc in docs {
        width += match doc {
            Doc::Text(text) if text.contains('\n') => return None,
            Doc::Text(text) => text.chars().count(),
            Doc::Line | Doc::LineIn(_) | Doc::LineBlank => 1,
            Doc::Soft | Doc::IfBroken(_) => 0,
            Doc::Hard | Doc::HardIn(_) | Doc::Blank => return None,
            Doc::Nest(_, docs) | Doc::Group(docs) => flat_width(docs)?,
        };
    }
    Some(width)
}

/// The width of what follows up to the next place where a line may end.
fn rest_width(docs: &[Doc], broken: bool, after: usize) -> usize {
    let mut width = 0;
    for doc in docs {
        match doc {
            Doc::Text(text) => width += text.chars().count(),
            Doc::Line | Doc::LineIn(_) | Doc::LineBlank | Doc::Soft if broken => return width,
            Doc::Line | Doc::LineIn(_) | Doc::LineBlank => width += 1,
            Doc::Soft | Doc::IfBroken(_) => {}
            Doc::Hard | Doc::HardIn(_) | Doc::Blank => return width,
            // What follows may begin with a bracket that opens on this line.
            Doc::Nest(_, docs) | Doc::Group(docs) => return width + first_width(docs),
        }
    }
    width + after
}

/// The text that a document begins with.
fn first_width(docs: &[Doc]) -> usize {
    match docs.first() {
        Some(Doc::Text(text)) => text.chars().count(),
        Some(Doc::Nest(_, docs) | Doc::Group(docs)) => first_width(docs),
        _ => 0,
    }
}
