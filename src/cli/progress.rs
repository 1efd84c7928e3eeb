//! The progress line of a bounded input: bytes read, rate, time left. On a terminal only, and until
//! the first row comes to it.

use std::time::{Duration, Instant};

use weir_core::graph::Handle;
use weir_sinks::terminal;
use weir_spec::units;

/// How often the line is drawn, and for how long a run may be silent.
const EVERY: Duration = Duration::from_millis(200);
const QUIET_FIRST: Duration = Duration::from_millis(500);

/// Draws until the task is dropped or rows come to the same terminal.
pub async fn draw(handle: Handle) {
    let started = Instant::now();
    tokio::time::sleep(QUIET_FIRST).await;
    loop {
        let (read, total) = handle.progress.get();
        if (read, total) == (0, 0) {
            // An input that is no file and no pipe has no bytes to show.
            tokio::time::sleep(EVERY).await;
            continue;
        }
        if !terminal::draw(&line(read, total, started.elapsed())) {
            return;
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn line(read: u64, total: u64, elapsed: Duration) -> String {
    let rate = read as f64 / elapsed.as_secs_f64().max(1e-9);
    let speed = format!("{}/s", units::human_size(rate));
    let done = units::human_size(read as f64);
    if total == 0 || read > total {
        return format!("{done} read, {speed}");
    }
    let left = (total - read) as f64 / rate.max(1.0) * 1e9;
    let percent = read * 100 / total.max(1);
    format!(
        "{percent:3} %  {done} of {}  {speed}  {} left",
        units::human_size(total as f64),
        units::human_duration(left as i64)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_how_fast_and_how_long() {
        let text = line(50 << 20, 200 << 20, Duration::from_secs(2));
        assert_eq!(text, " 25 %  50.0 MiB of 200 MiB  25.0 MiB/s  6.00 s left");
        assert_eq!(line(1024, 0, Duration::from_secs(1)), "1.00 KiB read, 1.00 KiB/s");
    }
}
