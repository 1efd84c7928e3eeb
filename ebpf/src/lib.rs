//! The BPF program that watches TCP connections and UDP packets, and how it is loaded and read.
//!
//! `bpf/` has the program in C; `flows.bpfel.o` is what [build.sh](../build.sh) makes of it, committed so that
//! nobody needs a compiler for it. [`Program`] loads and attaches it, [`records`] is what it tells. [`Diag`] asks the kernel for less of the same,
//! where it takes no program.

pub mod conntrack;
mod diag;
mod kernel;
pub mod measuring;
mod netlink;
mod program;
pub mod records;
pub mod rights;

pub use diag::{Diag, Scope};
pub use kernel::{monotonic_nanos, trim};
pub use program::{Hook, Program, Refused, Wanted, try_hooks};
