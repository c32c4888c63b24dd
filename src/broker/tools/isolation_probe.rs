//! Publishes with a client certificate on the devices' listener, and reports the broker's answer
//! for each topic.
//!
//! MQTT 5 and QoS 1: a broker of MQTT 3.1.1 acknowledges messages that its access rules drop. It
//! draws no conclusion, and publishes only empty messages.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Publish;
use tokio::time::timeout;

use super::certificate_probe::{TlsListenerAddress, connector};
use crate::broker::error::BrokerError;
use crate::broker::transport::mqtt_stream::MqttStream;
use crate::broker::transport::outgoing::{self, unsendable};
use crate::broker::transport::packets::Incoming;

/// Connect, publish to all topics, disconnect.
const PATIENCE: Duration = Duration::from_secs(10);

/// The PUBACK code with which a broker refuses a topic by its access rules.
const NOT_AUTHORIZED: u8 = 0x87;

/// Accepted; the topic has no subscriber.
const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;

/// The broker's answer to one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishAnswer {
    /// Accepted.
    Accepted,
    /// Refused by access rules.
    Refused,
    /// Any other code.
    Other(u8),
}

/// Publishes an empty message to each topic, one after the other; returns the answers in that
/// order.
pub async fn publish_to(
    listener: &TlsListenerAddress,
    client_id: &str,
    certificate: &[u8],
    key: &str,
    topics: &[String],
) -> Result<Vec<PublishAnswer>, String> {
    match timeout(PATIENCE, publish_all(listener, client_id, certificate, key, topics)).await {
        Ok(answers) => answers.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the broker did not answer within {} s", PATIENCE.as_secs())),
    }
}

// === impl PublishAnswer ===

impl PublishAnswer {
    const fn of(code: u8) -> Self {
        match code {
            0 | NO_MATCHING_SUBSCRIBERS => Self::Accepted,
            NOT_AUTHORIZED => Self::Refused,
            other => Self::Other(other),
        }
    }
}

// --- private helpers ---

async fn publish_all(
    listener: &TlsListenerAddress,
    client_id: &str,
    certificate: &[u8],
    key: &str,
    topics: &[String],
) -> Result<Vec<PublishAnswer>, BrokerError> {
    let (host, port) = listener.host_and_port();
    let connector = connector(listener, certificate, key).await?;
    let connect = outgoing::bare_connect(client_id)?;
    let mut link = MqttStream::open_tls(host, port, &connector).await?;
    let mut incoming = Vec::new();
    link.send_connect(&connect, &mut incoming).await?;
    let codes = publish_each(&mut link, &mut incoming, topics).await?;
    link.close(&outgoing::DISCONNECT).await;
    Ok(codes.into_iter().map(PublishAnswer::of).collect())
}

/// Publishes an empty message to each topic; returns the codes of PUBACK.
pub(super) async fn publish_each(
    link: &mut MqttStream,
    incoming: &mut Vec<Incoming>,
    topics: &[String],
) -> Result<Vec<u8>, BrokerError> {
    let mut codes = Vec::with_capacity(topics.len());
    // One at a time, which respects any window.
    for (topic, packet_id) in topics.iter().zip(1..) {
        link.write(&packet(topic, packet_id)?).await?;
        codes.push(answer(link, incoming, packet_id).await?);
    }
    Ok(codes)
}

fn packet(topic: &str, packet_id: u16) -> Result<BytesMut, BrokerError> {
    let mut packet = Publish::new(topic, QoS::AtLeastOnce, Bytes::new(), None);
    packet.pkid = packet_id;
    let mut buffer = BytesMut::new();
    packet.write(&mut buffer).map_err(unsendable)?;
    Ok(buffer)
}

/// Waits for the PUBACK of this message; returns its code.
async fn answer(
    link: &mut MqttStream,
    incoming: &mut Vec<Incoming>,
    wanted: u16,
) -> Result<u8, BrokerError> {
    loop {
        for packet in incoming.drain(..) {
            match packet {
                Incoming::PubAck { packet_id, code, .. } if packet_id == wanted => return Ok(code),
                Incoming::Disconnect(reason) => return Err(BrokerError::Dismissed(reason)),
                _ => {}
            }
        }
        link.drain(incoming).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_not_authorized_is_a_refusal_by_access_rules() {
        assert_eq!(
            [0, 0x10, 0x87].map(PublishAnswer::of),
            [PublishAnswer::Accepted, PublishAnswer::Accepted, PublishAnswer::Refused]
        );
        assert_eq!(PublishAnswer::of(0x97), PublishAnswer::Other(0x97));
    }
}
