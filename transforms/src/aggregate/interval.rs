//! Which interval a time is in.

/// When the interval begins that a time is in.
pub fn start_of(time: i64, interval: i64) -> i64 {
    time.div_euclid(interval).saturating_mul(interval)
}

/// The interval that a time is in. Times that follow each other mostly share one, and a division costs
/// more than everything else that is done with a row here.
#[derive(Default)]
pub struct Span {
    start: i64,
    end: i64,
    number: u32,
}

impl Span {
    pub fn number(&mut self, time: i64, interval: i64) -> u32 {
        self.start(time, interval);
        self.number
    }

    pub fn start(&mut self, time: i64, interval: i64) -> i64 {
        if !(self.start..self.end).contains(&time) {
            self.start = start_of(time, interval);
            self.end = self.start.saturating_add(interval);
            self.number = number(self.start, interval);
        }
        self.start
    }
}

/// The number of the interval that begins then, as contexts keep it.
pub fn number(start: i64, interval: i64) -> u32 {
    start.div_euclid(interval) as u32 & (u32::MAX >> 1)
}
