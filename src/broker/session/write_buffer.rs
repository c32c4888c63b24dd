//! Bytes that a connection writes at the end of each iteration: acknowledgements, pings and the
//! answers to control packets, as one write.
//!
//! It decides nothing about when to write, and drops its bytes with the connection.

use bytes::BytesMut;

use super::inflight::Inflight;
use crate::broker::error::BrokerError;
use crate::broker::transport::mqtt_stream::MqttStream;
use crate::broker::transport::outgoing;
use crate::domain::message::{AckToken, ConnectionId};

/// Unwritten bytes of one connection.
pub struct WriteBuffer {
    connection: ConnectionId,
    bytes: BytesMut,
}

// === impl WriteBuffer ===

impl WriteBuffer {
    /// An empty buffer of this connection.
    pub fn new(connection: ConnectionId) -> Self {
        Self { connection, bytes: BytesMut::new() }
    }

    /// Adds an encoded packet.
    pub fn push(&mut self, packet: &[u8]) {
        self.bytes.extend_from_slice(packet);
    }

    /// Adds PUBACK or PUBREC for each token and removes its message from `inflight`. Returns how
    /// many tokens are void because they belong to an earlier connection.
    pub fn acknowledge(&mut self, tokens: Vec<AckToken>, inflight: &mut Inflight) -> u64 {
        let mut void = 0;
        for token in tokens {
            if token.connection != self.connection {
                void += 1;
                continue;
            }
            inflight.acknowledged(token.packet_id);
            self.push(&if token.exactly_once {
                outgoing::pubrec(token.packet_id)
            } else {
                outgoing::puback(token.packet_id)
            });
        }
        void
    }

    /// Writes all bytes to `stream`.
    pub async fn flush(&mut self, stream: &mut MqttStream) -> Result<(), BrokerError> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let written = stream.write(&self.bytes).await;
        self.bytes.clear();
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tokens_of_this_connection_are_acknowledged_and_the_others_are_void() {
        let (mut buffer, mut inflight) = (WriteBuffer::new(ConnectionId(2)), Inflight::default());
        (1..=3).for_each(|packet_id| inflight.record_received(packet_id, 1));
        let token = |connection, packet_id, exactly_once| AckToken {
            connection: ConnectionId(connection),
            packet_id,
            exactly_once,
        };
        let tokens = vec![token(2, 1, false), token(1, 2, false), token(2, 3, true)];
        assert_eq!(buffer.acknowledge(tokens, &mut inflight), 1);
        assert_eq!(&buffer.bytes[..], [outgoing::puback(1), outgoing::pubrec(3)].concat());
        assert_eq!(inflight.unacked(), 1);
    }
}
