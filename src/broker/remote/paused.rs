//! A connection whose caller can take no message for a while.
//!
//! It reads nothing and judges nothing.

use tokio::time::{Instant, sleep_until};

use super::connection::{FAR, RemoteConnection};
use super::minting::minted;
use crate::broker::error::BrokerError;
use crate::broker::login::Renewal;
use crate::broker::transport::outgoing;

// === impl RemoteConnection ===

impl RemoteConnection {
    /// Pings and renews the login, and reads nothing: for a caller that can take no message for a while.
    /// What the broker answers meanwhile waits in the socket, and no silence is held against it.
    /// Cancel safe; pending until an error ends the connection.
    pub async fn keep_alive(&mut self) -> BrokerError {
        self.is_paused = true;
        loop {
            self.link.write_ready(&mut self.unwritten).await;
            let login = self.renewal.as_ref().map(Renewal::next);
            let due = [self.timers.ping_at(), login].into_iter().flatten().min();
            let due = due.unwrap_or_else(|| Instant::now() + FAR);
            let done = tokio::select! {
                minted = minted(&mut self.minting), if self.minting.is_some() => {
                    self.minting = None;
                    minted.map(|packet| self.unwritten.extend(packet))
                }
                () = sleep_until(due) => {
                    if self.timers.take_ping(Instant::now()) {
                        self.unwritten.extend_from_slice(&outgoing::PINGREQ);
                    }
                    self.renew_if_due(Instant::now())
                }
            };
            if let Err(error) = done {
                return error;
            }
        }
    }
}
