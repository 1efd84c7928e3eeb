//! The text of a pipeline and of all that it uses, in one space of spans.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use weir_spec::{Diagnostic, Span};

use crate::ast::{File, Item};
use crate::parse::parse_part;
use crate::{Setting, codes, foreign, text};

/// Files that one pipeline may use, by whatever ways.
pub const FILES_MAX: usize = 64;

/// One file: its name for messages, and where its text stands in the whole.
#[derive(Clone, Debug)]
pub struct SourceFile {
    pub name: String,
    pub span: Span,
}

/// Every file's text, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    text: String,
    files: Vec<SourceFile>,
}

impl Sources {
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The file that a place is in.
    pub fn file(&self, at: usize) -> &SourceFile {
        let next = self.files.partition_point(|f| f.span.start <= at);
        &self.files[next.saturating_sub(1)]
    }

    pub fn text_of(&self, file: &SourceFile) -> &str {
        &self.text[file.span.start..file.span.end]
    }

    pub fn one(name: &str, text: &str) -> Sources {
        let mut sources = Sources::default();
        sources.add(name, text);
        sources
    }

    fn add(&mut self, name: &str, text: &str) -> Span {
        if !self.files.is_empty() {
            self.text.push('\n');
        }
        let start = self.text.len();
        self.text.push_str(text);
        let span = Span::new(start, self.text.len());
        self.files.push(SourceFile { name: name.to_string(), span });
        span
    }
}

/// A file that somebody uses, as who may read files gives it.
pub struct Used {
    /// The same for the same file by whatever path.
    pub id: String,
    pub bytes: Vec<u8>,
}

/// A pipeline and what it uses, parsed.
pub(crate) struct Loaded {
    pub sources: Sources,
    pub file: File,
    pub diagnostics: Vec<Diagnostic>,
}

/// Parses a text and, one after the other, what it uses.
pub(crate) fn load(source: &str, setting: &Setting) -> Loaded {
    let loaded = Loaded { sources: Sources::default(), file: File::default(), diagnostics: Vec::new() };
    let mut loader = Loader { setting, loaded, seen: BTreeMap::new() };
    let span = loader.loaded.sources.add(setting.name, source);
    let items = loader.parse(span);
    loader.loaded.file.own = items.len();
    // The file itself is where every chain begins; it is looked up only if there is one.
    let uses = items.iter().any(|item| matches!(item, Item::Use { .. }));
    let main = uses.then(|| (setting.read)(Path::new(setting.name)).ok()).flatten();
    let mut chain = main.into_iter().map(|main| main.id).collect();
    loader.follow(items, Path::new(setting.name), &mut chain);
    loader.loaded
}

struct Loader<'a> {
    setting: &'a Setting<'a>,
    loaded: Loaded,
    /// Files read, with where they were asked for.
    seen: BTreeMap<String, Span>,
}

impl Loader<'_> {
    fn parse(&mut self, span: Span) -> Vec<Item> {
        let is_stage = |name: &str| self.setting.components.iter().any(|c| c.name == name && !c.is_source());
        let (file, diagnostics) = parse_part(self.loaded.sources.text(), span, &is_stage);
        self.loaded.diagnostics.extend(diagnostics);
        file.items
    }

    /// Keeps the items of one file and reads what they use. `chain` is how this file was come to.
    fn follow(&mut self, items: Vec<Item>, name: &Path, chain: &mut Vec<String>) {
        let uses = items.iter().filter_map(|item| match item {
            Item::Use { path, span } => Some((path.clone(), *span)),
            _ => None,
        });
        let uses: Vec<(String, Span)> = uses.collect();
        self.loaded.file.items.extend(items);
        for (path, span) in uses {
            let path: PathBuf = name.parent().unwrap_or(Path::new("")).join(path);
            self.used(&path, span, chain);
        }
    }

    fn used(&mut self, path: &Path, span: Span, chain: &mut Vec<String>) {
        let shown = path.display().to_string();
        let refuse = |why: String| Diagnostic::new(codes::CANNOT_USE, span, format!("cannot use `{shown}`: {why}"));
        let used = match (self.setting.read)(path) {
            Ok(used) => used,
            Err(why) => return self.loaded.diagnostics.push(refuse(why)),
        };
        if chain.contains(&used.id) {
            let d = Diagnostic::new(codes::CYCLE, span, format!("`{shown}` uses itself"));
            return self.loaded.diagnostics.push(d.help("move what both need into a file of its own"));
        }
        if let Some(first) = self.seen.get(&used.id) {
            let d = Diagnostic::new(codes::USED_TWICE, span, format!("`{shown}` is used twice"));
            let d = d.here("it is read once").label(*first, "the first time").help("delete one of them");
            return self.loaded.diagnostics.push(d);
        }
        if self.seen.len() >= FILES_MAX {
            return self.loaded.diagnostics.push(refuse(format!("a pipeline uses at most {FILES_MAX} files")));
        }
        let text = match text::decode(&used.bytes) {
            Ok(text) => text,
            Err(d) => return self.loaded.diagnostics.push(refuse(d.title)),
        };
        if let Some(d) = foreign::recognise(text) {
            return self.loaded.diagnostics.push(refuse(d.title));
        }
        self.seen.insert(used.id.clone(), span);
        let part = self.loaded.sources.add(&shown, text);
        let directory = path.parent().unwrap_or(Path::new(""));
        let main = Path::new(self.setting.name).parent().unwrap_or(Path::new(""));
        let seen = directory.strip_prefix(main).unwrap_or(directory).to_path_buf();
        self.loaded.file.directories.push((part.start, seen));
        let before = self.loaded.diagnostics.len();
        let mut items = self.parse(part);
        if items.is_empty() && self.loaded.diagnostics.len() > before {
            self.loaded.diagnostics.truncate(before);
            return self.loaded.diagnostics.push(refuse("it has no definition that can be read".into()));
        }
        // Only definitions are taken; what a file runs, sets and tests is its own.
        items.retain(|item| !matches!(item, Item::Pipe(_) | Item::Settings { .. } | Item::Test(_)));
        chain.push(used.id);
        self.follow(items, path, chain);
        chain.pop();
    }
}
