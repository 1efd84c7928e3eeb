//! Locks and counts. What acks and edges are made of is replaced by the model checker's under
//! `--cfg model` (not `--cfg loom`, which would change tokio too): `core/model.sh` runs it.

use std::sync::{Mutex, MutexGuard};

/// Locks, also after a panic elsewhere: what these mutexes guard is valid between statements.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// What the model checker replaces.
#[cfg(not(model))]
pub mod checked {
    pub use super::lock;
    pub use std::sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    };
}

#[cfg(model)]
pub mod checked {
    pub use loom::sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    };

    pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
