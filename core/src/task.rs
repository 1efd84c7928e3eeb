//! Drivers: each runs one component in a task of its own.

pub mod sink;
pub mod source;
pub mod transform;

use crate::fault::Fault;

/// How a task ended. Any fault makes the run exit with 1.
#[derive(Default)]
pub struct Ended {
    pub faults: Vec<Fault>,
}
