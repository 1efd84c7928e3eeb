//! The engine: batches of Arrow columns through a backpressured dataflow, every row accounted for.
//!
//! Reading order, from data to graph:
//!
//! - [`time`], [`clock`]: event time, and the only clock there is;
//! - [`columns`], [`build`], [`tags`], [`rows`], [`batch`], [`acks`]: rows with their times and the promise that rides
//!   on them;
//! - [`ledger`], [`terminal`], [`edge`], [`out`]: counting and telling, bounded queues, and the verbs by which a batch
//!   leaves;
//! - [`component`]: what a source, a transform and a sink are;
//! - [`eval`], [`sketch`], [`distinct`], [`hash`], [`index`]: running expressions, mergeable state, and tables under
//!   hashes;
//! - [`host`]: what the host says about its processes;
//! - [`task`], [`split`], [`graph`]: driving components, and a plan as running tasks.
//!
//! Not here: any component, any text of the language.

#![forbid(unsafe_code)]

pub mod acks;
pub mod batch;
pub mod bell;
pub mod build;
pub mod clock;
pub mod columns;
pub mod community;
pub mod component;
pub mod distinct;
pub mod edge;
pub mod eval;
pub mod fault;
pub mod graph;
pub mod hash;
pub mod host;
pub mod index;
pub mod ledger;
pub mod out;
pub mod rows;
pub mod secret;
pub mod sketch;
pub mod split;
pub mod stop;
pub mod sync;
pub mod tags;
pub mod task;
pub mod terminal;
pub mod text_pattern;
pub mod time;

pub use acks::{Acks, Origin, Verdict};
pub use batch::{Batch, Times};
pub use clock::Clock;
pub use component::{Build, BuildCx, Entry, Finish, Source, SourceCx, Transform};
pub use fault::Fault;
pub use graph::{Graph, Report};
pub use out::Out;
pub use rows::Rows;
pub use time::Time;
