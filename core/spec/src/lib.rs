//! What the language and the engine agree on, as plain data.
//!
//! `weir-dsl` turns a pipeline into a [`plan::Plan`]; `weir-core` runs one. The two never meet: all
//! they share is here. Reading order:
//!
//! - [`types`], [`schema`], [`kind`]: what a column, a row and a stream are;
//! - [`value`], [`units`], [`option`]: constants and the options a component declares;
//! - [`component`]: the declaration of a component, from which checks, help and docs follow;
//! - [`expr`], [`arithmetic`], [`function`], [`aggregate`]: typed expressions;
//! - [`plan`], [`demand`]: the checked graph and which of its columns anybody reads;
//! - [`testing`]: test blocks, checked;
//! - [`diagnostic`]: what a user is told.
//!
//! Not here: arrays, channels, parsing. This crate depends on no runtime and no column library.

#![forbid(unsafe_code)]

pub mod address;
pub mod aggregate;
pub mod arithmetic;
pub mod component;
pub mod demand;
pub mod diagnostic;
pub mod expr;
pub mod function;
pub mod kind;
pub mod kinds;
pub mod memory;
pub mod option;
pub mod plan;
pub mod schema;
pub mod testing;
pub mod types;
pub mod units;
pub mod value;

pub use component::{ComponentSpec, Shape};
pub use diagnostic::{Code, Diagnostic, Label, Severity, Span};
pub use expr::Expr;
pub use kind::Kind;
pub use plan::Plan;
pub use schema::{Field, Schema, Stream};
pub use types::{Type, Unit};
pub use value::{Value, Values};
