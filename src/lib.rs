//! The program: its verbs over the language, the engine and the table of components.

#![forbid(unsafe_code)]

pub mod admin;
pub mod cli;
pub mod components;
pub mod reference;
pub mod testing;
