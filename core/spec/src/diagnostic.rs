//! What a user is told: a code, what is wrong, where, and what to do.

/// Bytes of one source file, `start..end`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    pub fn new(start: usize, end: usize) -> Span {
        Span { start, end: end.max(start) }
    }

    pub fn contains(self, other: Span) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// From the start of this to the end of `other`.
    pub fn to(self, other: Span) -> Span {
        Span::new(self.start, self.end.max(other.end))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    Error,
    Warning,
}

/// `E0301` or `W0301`; see the registry in `weir-dsl`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Code(pub &'static str);

impl Code {
    pub fn severity(self) -> Severity {
        if self.0.starts_with('W') { Severity::Warning } else { Severity::Error }
    }
}

/// A place and what is to be said about it; an empty text only points.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Label {
    pub span: Span,
    pub text: String,
}

/// One mistake. The first label is the place to change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    pub code: Code,
    pub title: String,
    pub labels: Vec<Label>,
    pub help: Option<String>,
    /// What to write in place of the first label's span, where that alone mends it.
    pub replacement: Option<String>,
}

impl Diagnostic {
    pub fn new(code: Code, span: Span, title: impl Into<String>) -> Diagnostic {
        Diagnostic {
            code,
            title: title.into(),
            labels: vec![Label { span, text: String::new() }],
            help: None,
            replacement: None,
        }
    }

    /// Says something about the first label's place.
    pub fn here(mut self, text: impl Into<String>) -> Diagnostic {
        self.labels[0].text = text.into();
        self
    }

    pub fn label(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }

    pub fn replace(mut self, with: impl Into<String>) -> Diagnostic {
        self.replacement = Some(with.into());
        self
    }

    pub fn severity(&self) -> Severity {
        self.code.severity()
    }

    pub fn is_error(&self) -> bool {
        self.severity() == Severity::Error
    }

    pub fn span(&self) -> Span {
        self.labels[0].span
    }
}
