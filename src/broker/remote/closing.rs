//! How Sluice ends a connection to another broker.
//!
//! It sends no further message.

use super::connection::RemoteConnection;
use crate::broker::transport::outgoing;

// === impl RemoteConnection ===

impl RemoteConnection {
    /// Writes what is buffered and DISCONNECT, and waits for a bounded time until the broker closes.
    /// The broker keeps the session for as long as it granted.
    pub async fn close(self) {
        self.close_with(&outgoing::DISCONNECT).await;
    }

    /// The same, and the broker ends the session at once.
    pub async fn close_session(self) {
        self.close_with(&outgoing::DISCONNECT_SESSION).await;
    }

    async fn close_with(mut self, disconnect: &[u8]) {
        let mut last = std::mem::take(&mut self.unwritten);
        last.extend_from_slice(disconnect);
        self.link.close(&last).await;
    }
}
