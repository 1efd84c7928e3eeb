//! The pipeline language: from text to a checked plan, or to everything that is wrong with it.
//!
//! Reading order: [`text`] and [`lex`] (every byte in one token), [`brackets`] (where each bracket
//! ends, before parsing), [`ast`] and [`parse`] (recursive descent that never fails), [`check`]
//! (names, types and units, and the plan), [`codes`], [`render`] and [`json`] (what a user reads).
//!
//! Not here: any component's code, any runtime. The table of components comes from the caller.

#![forbid(unsafe_code)]

pub mod ast;
pub mod brackets;
pub mod check;
pub mod codes;
pub mod explain;
pub mod fmt;
pub mod follow;
pub mod foreign;
pub mod json;
pub mod lex;
pub mod literal;
pub mod nearest;
pub mod parse;
pub mod render;
pub mod sources;
pub mod text;
pub mod tree;

use std::collections::BTreeMap;
use std::path::Path;

use weir_spec::component::ComponentSpec;
use weir_spec::testing::TestCase;
use weir_spec::{Diagnostic, Plan};

use sources::Loaded;
pub use sources::{Sources, Used};

/// What checking needs to know beside the text.
pub struct Setting<'a> {
    /// The file, as messages call it; what it uses is found relative to it.
    pub name: &'a str,
    /// The one table of components.
    pub components: &'a [&'static ComponentSpec],
    /// `--param name=value`.
    pub params: &'a BTreeMap<String, String>,
    /// The environment, for `env("X")`.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Reads a file that a pipeline uses; the error says why it cannot be.
    pub read: &'a dyn Fn(&Path) -> Result<Used, String>,
}

impl<'a> Setting<'a> {
    /// A text by itself: no environment, no files to use.
    pub fn alone(
        name: &'a str,
        components: &'a [&'static ComponentSpec],
        params: &'a BTreeMap<String, String>,
    ) -> Setting<'a> {
        fn no_env(_: &str) -> Option<String> {
            None
        }
        fn no_files(_: &Path) -> Result<Used, String> {
            Err("there are no files here".into())
        }
        Setting { name, components, params, env: &no_env, read: &no_files }
    }
}

/// What a text turned out to be.
pub struct Checked {
    /// The text, and those that it uses.
    pub sources: Sources,
    /// In file order; at most [`codes::SHOWN_MAX`].
    pub diagnostics: Vec<Diagnostic>,
    /// There if nothing is an error.
    pub plan: Option<Plan>,
    /// Whether there is anything to run: a pipe that ends in a sink.
    pub runs: bool,
    /// Params without a value.
    pub missing_params: Vec<String>,
    /// The test blocks, there if nothing is an error.
    pub tests: Vec<TestCase>,
}

/// Checks a pipeline as bytes of a file. Never fails: what is wrong is in the diagnostics.
pub fn check(bytes: &[u8], setting: &Setting) -> Checked {
    let nothing = |text: &str, d| Checked {
        sources: Sources::one(setting.name, text),
        diagnostics: vec![d],
        plan: None,
        runs: false,
        missing_params: vec![],
        tests: vec![],
    };
    let source = match text::decode(bytes) {
        Ok(source) => source,
        Err(diagnostic) => return nothing(&String::from_utf8_lossy(bytes), diagnostic),
    };
    if let Some(diagnostic) = foreign::recognise(source) {
        return nothing(source, diagnostic);
    }
    let Loaded { sources, file, mut diagnostics } = sources::load(source, setting);
    let mut checked = check::check(sources.text(), &file, setting, diagnostics.is_empty());
    diagnostics.append(&mut checked.diagnostics);
    diagnostics.sort_by_key(|d| (d.span().start, d.severity()));
    diagnostics.dedup();
    let diagnostics = follow::leave_out(sources.text(), diagnostics);
    let errors = diagnostics.iter().any(Diagnostic::is_error);
    let diagnostics = diagnostics.into_iter().take(codes::SHOWN_MAX).collect();
    let (plan, tests) = if errors { (None, Vec::new()) } else { (checked.plan, checked.tests) };
    Checked { sources, diagnostics, plan, runs: checked.runs, missing_params: checked.missing_params, tests }
}
