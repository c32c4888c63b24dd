//! A small publishing client for the inspection of the broker and the demo's marker message.
//!
//! It subscribes to nothing, keeps no session, and does not reconnect.

use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Publish;

use crate::broker::error::BrokerError;
use crate::broker::transport::mqtt_stream::MqttStream;
use crate::broker::transport::outgoing::{self, unsendable};
use crate::broker::transport::packets::Incoming;
use crate::config::sections::broker::BrokerConfig;

/// Bytes that are buffered before a write.
const WRITE_AT: usize = 32 * 1024;

/// A connection for publishing.
pub struct MqttPublisher {
    link: MqttStream,
    outbox: BytesMut,
    incoming: Vec<Incoming>,
    window: u16,
    unacked: u16,
    packet_id: u16,
    tally: PublishTally,
}

/// Outcomes of the answered QoS 1 messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishTally {
    /// Accepted.
    pub acknowledged: u64,
    /// Refused by access rules or limits.
    pub refused: u64,
}

// === impl MqttPublisher ===

impl MqttPublisher {
    /// Connects with the address, TLS, client id and login of `config`; at most `window` messages
    /// are unanswered at once.
    pub async fn connect(config: &BrokerConfig, window: u16) -> Result<Self, BrokerError> {
        let connect = outgoing::publisher_connect(config)?;
        let mut link = MqttStream::open(config).await?;
        let mut incoming = Vec::new();
        let welcome = link.send_connect(&connect, &mut incoming).await?;
        let window = window.min(welcome.receive_maximum.unwrap_or(u16::MAX)).max(1);
        let (outbox, tally) = (BytesMut::new(), PublishTally::default());
        Ok(Self { link, outbox, incoming, window, unacked: 0, packet_id: 0, tally })
    }

    /// Publishes at QoS 1. Waits only if the window is full; buffered bytes are sent then, or by
    /// [`Self::flush`].
    pub async fn publish(
        &mut self,
        topic: &str,
        payload: impl Into<Bytes>,
    ) -> Result<(), BrokerError> {
        while self.unacked >= self.window {
            self.flush().await?;
            self.receive().await?;
        }
        self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
        self.unacked += 1;
        self.send(topic, payload.into(), QoS::AtLeastOnce).await
    }

    /// Publishes at QoS 0, without an answer.
    pub async fn publish_at_most_once(
        &mut self,
        topic: &str,
        payload: impl Into<Bytes>,
    ) -> Result<(), BrokerError> {
        self.send(topic, payload.into(), QoS::AtMostOnce).await
    }

    /// Writes the buffered bytes.
    pub async fn flush(&mut self) -> Result<(), BrokerError> {
        let written =
            if self.outbox.is_empty() { Ok(()) } else { self.link.write(&self.outbox).await };
        self.outbox.clear();
        written
    }

    /// Waits until every QoS 1 message is answered; returns the tally since the connect.
    pub async fn drain(&mut self) -> Result<PublishTally, BrokerError> {
        self.flush().await?;
        while self.unacked > 0 {
            self.receive().await?;
        }
        Ok(self.tally)
    }

    /// Writes the buffered bytes, disconnects, and waits for the broker to close.
    pub async fn close(mut self) -> Result<(), BrokerError> {
        self.flush().await?;
        self.link.close(&outgoing::DISCONNECT).await;
        Ok(())
    }

    async fn send(&mut self, topic: &str, payload: Bytes, qos: QoS) -> Result<(), BrokerError> {
        let mut packet = Publish::new(topic, qos, payload, None);
        packet.pkid = self.packet_id;
        packet.write(&mut self.outbox).map_err(unsendable)?;
        if self.outbox.len() >= WRITE_AT { self.flush().await } else { Ok(()) }
    }

    /// Takes the answers that have arrived, or waits for one.
    async fn receive(&mut self) -> Result<(), BrokerError> {
        self.link.drain(&mut self.incoming).await?;
        for packet in self.incoming.drain(..) {
            match packet {
                Incoming::PubAck { code, .. } => {
                    self.unacked = self.unacked.saturating_sub(1);
                    let count = if code < 0x80 {
                        &mut self.tally.acknowledged
                    } else {
                        &mut self.tally.refused
                    };
                    *count += 1;
                }
                Incoming::Disconnect(reason) => return Err(BrokerError::Dismissed(reason)),
                _ => {}
            }
        }
        Ok(())
    }
}
