//! What the benchmarks share: the process's CPU clock, and how a result is printed.

use std::time::Duration;

/// Runs of which the median counts.
pub const RUNS: usize = 9;

/// CPU time of this process. getrusage moves in steps of milliseconds, this clock does not.
pub fn cpu() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock's id is valid and `now` is a timespec that lives through the call.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Prints the median of several runs, with the least and the most, and gives it.
pub fn report(name: &str, unit: &str, mut runs: Vec<f64>) -> f64 {
    runs.sort_by(f64::total_cmp);
    let (low, median, high) = (runs[0], runs[runs.len() / 2], runs[runs.len() - 1]);
    println!("{name:<44} {median:>10.1} {unit}  ({low:.1} to {high:.1})");
    median
}
