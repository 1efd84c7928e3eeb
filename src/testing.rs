//! `test` blocks: a graph run in virtual time, fed by hand, looked at on the way.
//!
//! Sources give what the test feeds, sinks keep their encoder and driver and deliver into memory.
//! No socket, file or secret is touched but the fixtures that a feed names. [`scene`] is what stands
//! in for the outside, [`run`] does one test step by step, [`expect`] compares, [`table`] shows.

mod expect;
mod run;
mod scene;
mod table;

pub use run::{Failure, Outcome, missing_fixtures, run};
