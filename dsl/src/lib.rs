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
pub mod follow;
pub mod foreign;
pub mod json;
pub mod lex;
pub mod literal;
pub mod nearest;
pub mod parse;
pub mod render;
pub mod text;

use std::collections::BTreeMap;

use weir_spec::component::ComponentSpec;
use weir_spec::{Diagnostic, Plan, Severity};

/// What checking needs to know beside the text.
pub struct Setting<'a> {
    /// The one table of components.
    pub components: &'a [&'static ComponentSpec],
    /// `--param name=value`.
    pub params: &'a BTreeMap<String, String>,
    /// The environment, for `env("X")`.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

/// What a text turned out to be.
pub struct Checked {
    /// In file order; at most [`codes::SHOWN_MAX`].
    pub diagnostics: Vec<Diagnostic>,
    /// There if nothing is an error.
    pub plan: Option<Plan>,
    /// Whether there is anything to run: a pipe that ends in a sink.
    pub runs: bool,
    /// Params without a value.
    pub missing_params: Vec<String>,
}

/// Checks a pipeline as bytes of a file. Never fails: what is wrong is in the diagnostics.
pub fn check(bytes: &[u8], setting: &Setting) -> Checked {
    let nothing = |d| Checked { diagnostics: vec![d], plan: None, runs: false, missing_params: vec![] };
    let source = match text::decode(bytes) {
        Ok(source) => source,
        Err(diagnostic) => return nothing(diagnostic),
    };
    if let Some(diagnostic) = foreign::recognise(source) {
        return nothing(diagnostic);
    }
    let (file, mut diagnostics) =
        parse::parse(source, &|name| setting.components.iter().any(|c| c.name == name && !c.is_source()));
    let mut checked = check::check(source, &file, setting, diagnostics.is_empty());
    diagnostics.append(&mut checked.diagnostics);
    diagnostics.sort_by_key(|d| (d.span().start, d.severity()));
    diagnostics.dedup();
    let diagnostics = follow::leave_out(source, diagnostics);
    let errors = diagnostics.iter().any(|d| d.severity() == Severity::Error);
    let diagnostics = diagnostics.into_iter().take(codes::SHOWN_MAX).collect();
    let plan = if errors { None } else { checked.plan };
    Checked { diagnostics, plan, runs: checked.runs, missing_params: checked.missing_params }
}
