//! What holds for the whole program. One binary, a module a theme.

mod architecture;
mod bad_input;
mod captures;
mod messages;
mod pipelines;
mod support;
mod windows;
