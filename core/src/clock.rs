//! The only clock that components are given: the machine's, or a test's.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::sync::lock;
use crate::time::Time;

/// Real or virtual time. Cloning gives another hand on the same clock.
#[derive(Clone, Default)]
pub enum Clock {
    #[default]
    Real,
    Virtual(Arc<Virtual>),
}

/// A clock that moves only when told to.
#[derive(Default)]
pub struct Virtual {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    now: i64,
    /// By due time and number, so that timers fire in the order they were set.
    timers: BTreeMap<(i64, u64), Waker>,
    set: u64,
}

impl Clock {
    pub fn now(&self) -> Time {
        match self {
            Clock::Real => Time(real_now()),
            Clock::Virtual(clock) => Time(lock(&clock.state).now),
        }
    }

    /// Waits for `duration` of this clock's time.
    pub async fn sleep(&self, duration: Duration) {
        match self {
            Clock::Real => tokio::time::sleep(duration).await,
            Clock::Virtual(clock) => clock.sleep(duration).await,
        }
    }
}

#[allow(clippy::disallowed_methods)] // The one place that reads the machine's clock.
fn real_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| d.as_nanos().min(i64::MAX as u128) as i64)
}

impl Virtual {
    pub fn starting_at(now: Time) -> Arc<Virtual> {
        let state = State { now: now.0, ..State::default() };
        Arc::new(Virtual { state: Mutex::new(state) })
    }

    async fn sleep(&self, duration: Duration) {
        let nanos = duration.as_nanos().min(i64::MAX as u128) as i64;
        let due = lock(&self.state).now.saturating_add(nanos);
        let mut timer = None;
        poll_fn(|cx| {
            let mut state = lock(&self.state);
            if state.now >= due {
                return Poll::Ready(());
            }
            let number = *timer.get_or_insert_with(|| {
                state.set += 1;
                state.set
            });
            state.timers.insert((due, number), cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// The next time at which somebody is to be woken.
    pub fn next_timer(&self) -> Option<Time> {
        lock(&self.state).timers.keys().next().map(|(due, _)| Time(*due))
    }

    /// Moves to `now` and wakes whoever waited for it. Time does not go back.
    pub fn move_to(&self, now: Time) {
        let mut state = lock(&self.state);
        let now = state.now.max(now.0);
        state.now = now;
        let later = state.timers.split_off(&(now, u64::MAX));
        let fired = std::mem::replace(&mut state.timers, later);
        drop(state);
        fired.into_values().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn virtual_sleep_ends_when_the_clock_is_moved() {
        let clock = Virtual::starting_at(Time(1_000));
        let hand = Clock::Virtual(clock.clone());
        let task = tokio::spawn(async move {
            hand.sleep(Duration::from_nanos(500)).await;
            hand.now()
        });
        while clock.next_timer().is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(clock.next_timer(), Some(Time(1_500)));
        clock.move_to(Time(1_499));
        assert!(!task.is_finished());
        clock.move_to(Time(1_500));
        assert_eq!(task.await.unwrap(), Time(1_500));
    }
}
