//! SUBSCRIBE and UNSUBSCRIBE of a connection to another broker.
//!
//! It keeps no filter: the caller knows what it wants.

use tokio::time::Instant;

use super::connection::RemoteConnection;
use crate::broker::error::BrokerError;
use crate::broker::transport::outgoing;

// === impl RemoteConnection ===

impl RemoteConnection {
    /// Buffers one SUBSCRIBE to these filters, each with its QoS (0 or 1), and returns its packet
    /// identifier.
    pub fn subscribe(&mut self, filters: &[(&str, u8)]) -> Result<u16, BrokerError> {
        let packet_id = self.next_subscription()?;
        self.unwritten.extend(outgoing::remote_subscribe(packet_id, filters)?);
        self.subscribes.record_sent(packet_id, filters.len(), Instant::now());
        Ok(packet_id)
    }

    /// Buffers one UNSUBSCRIBE from these filters and returns its packet identifier.
    pub fn unsubscribe(&mut self, filters: &[String]) -> Result<u16, BrokerError> {
        let packet_id = self.next_subscription()?;
        self.unwritten.extend(outgoing::unsubscribe(packet_id, filters)?);
        self.subscribes.record_sent(packet_id, filters.len(), Instant::now());
        Ok(packet_id)
    }

    fn next_subscription(&mut self) -> Result<u16, BrokerError> {
        let why = "too many SUBSCRIBE packets have no answer";
        self.subscribes.next_id().ok_or_else(|| BrokerError::Unsendable(why.to_owned()))
    }
}
