//! Asking a running graph to end.

use std::sync::Arc;

use tokio::sync::watch;

/// Told to every source; cloning gives another hand on the same switch.
#[derive(Clone)]
pub struct Stop {
    sender: Arc<watch::Sender<bool>>,
}

impl Default for Stop {
    fn default() -> Self {
        Stop { sender: Arc::new(watch::channel(false).0) }
    }
}

impl Stop {
    pub fn stop(&self) {
        self.sender.send_replace(true);
    }

    pub fn is_stopped(&self) -> bool {
        *self.sender.borrow()
    }

    /// Waits until somebody stops the graph.
    pub async fn stopped(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.sender.subscribe().wait_for(|stopped| *stopped).await;
    }
}
