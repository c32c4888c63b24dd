//! One short connection of an inspection: subscribes and collects messages without acknowledging
//! them.
//!
//! It judges nothing. The broker drops its session at the end.

use std::time::Duration;

use tokio::time::timeout;

use crate::broker::error::BrokerError;
use crate::broker::transport::mqtt_stream::{ANSWER_TIMEOUT, MqttStream};
use crate::broker::transport::outgoing;
use crate::broker::transport::packets::{ConnAck, Incoming, Publish};
use crate::config::sections::broker::BrokerConfig;

/// After this long without a message, none is expected.
const QUIET: Duration = Duration::from_secs(2);

/// One connection.
pub(super) struct InspectorConnection {
    link: MqttStream,
    incoming: Vec<Incoming>,
    messages: Vec<Publish>,
    connack: ConnAck,
}

// === impl InspectorConnection ===

impl InspectorConnection {
    /// Connects; the broker sends at most `receive_maximum` unacknowledged messages.
    pub(super) async fn open(
        config: &BrokerConfig,
        receive_maximum: u16,
    ) -> Result<Self, BrokerError> {
        let connect = outgoing::inspector_connect(config, receive_maximum)?;
        let mut link = MqttStream::open(config).await?;
        let mut incoming = Vec::new();
        let connack = link.send_connect(&connect, &mut incoming).await?;
        Ok(Self { link, incoming, messages: Vec::new(), connack })
    }

    /// The broker's answer to CONNECT.
    pub(super) fn connack(&self) -> &ConnAck {
        &self.connack
    }

    /// Messages that arrived, in order.
    pub(super) fn messages(&self) -> &[Publish] {
        &self.messages
    }

    /// Subscribes; returns the code of the answer.
    pub(super) async fn subscribe(
        &mut self,
        filter: &str,
        wants_retained: bool,
    ) -> Result<u8, BrokerError> {
        self.link.write(&outgoing::inspector_subscribe(filter, wants_retained)?).await?;
        let answer = timeout(ANSWER_TIMEOUT, async {
            loop {
                if let Some(code) = self.receive().await? {
                    return Ok(code);
                }
            }
        });
        let late = BrokerError::NoAnswer { packet: "SUBSCRIBE", seconds: ANSWER_TIMEOUT.as_secs() };
        answer.await.unwrap_or(Err(late))
    }

    /// Waits until `wanted` messages have arrived or none arrives any longer; returns their number.
    pub(super) async fn gather(&mut self, wanted: usize) -> Result<usize, BrokerError> {
        while self.messages.len() < wanted {
            let Ok(received) = timeout(QUIET, self.receive()).await else { break };
            received?;
        }
        Ok(self.messages.len())
    }

    /// Disconnects; the broker drops the session and its messages.
    pub(super) async fn close(self) {
        self.link.close(&outgoing::DISCONNECT).await;
    }

    /// Takes the packets that have arrived, or waits; returns the code of a SUBACK.
    async fn receive(&mut self) -> Result<Option<u8>, BrokerError> {
        if self.incoming.is_empty() {
            self.link.drain(&mut self.incoming).await?;
        }
        let mut answer = None;
        for packet in self.incoming.drain(..) {
            match packet {
                Incoming::Publish(message) => self.messages.push(message),
                Incoming::SubAck { codes, .. } => answer = codes.first().copied(),
                Incoming::Disconnect(reason) => return Err(BrokerError::Dismissed(reason)),
                _ => {}
            }
        }
        Ok(answer)
    }
}
