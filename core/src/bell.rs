//! How a thread that works outside of the graph wakes the task that waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

/// Rung by any number of threads, heard by one task. Cloning gives another hand on the same bell.
#[derive(Clone, Default)]
pub struct Bell(Arc<State>);

#[derive(Default)]
struct State {
    rung: AtomicBool,
    waker: AtomicWaker,
}

impl Bell {
    pub fn ring(&self) {
        self.0.rung.store(true, Ordering::Release);
        self.0.waker.wake();
    }

    /// Ready if it was rung since this was last ready, however often.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.waker.register(cx.waker());
        if self.0.rung.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn who_listens_hears_it_once_before_and_after() {
        let bell = Bell::default();
        bell.ring();
        bell.ring();
        poll_fn(|cx| bell.poll(cx)).await;
        let hand = bell.clone();
        let thread = std::thread::spawn(move || hand.ring());
        poll_fn(|cx| bell.poll(cx)).await;
        thread.join().unwrap();
        let again = poll_fn(|cx| Poll::Ready(bell.poll(cx))).await;
        assert!(again.is_pending());
    }
}
