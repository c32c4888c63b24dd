//! Publishes with a client certificate on the devices' listener, and reports what the broker answered for each topic.
//!
//! MQTT 5 and QoS 1: a broker of MQTT 3.1.1 acknowledges what its access rules drop. It judges nothing, and publishes
//! nothing but empty messages.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Publish;
use tokio::time::timeout;

use super::certificate_probe::{TlsListenerAddress, connector, split};
use crate::broker::error::BrokerError;
use crate::broker::transport::mqtt_stream::MqttStream;
use crate::broker::transport::outgoing::{self, unsendable};
use crate::broker::transport::packets::Incoming;

/// Connect, publish to all topics, disconnect.
const PATIENCE: Duration = Duration::from_secs(10);

/// The PUBACK code with which a broker refuses a topic by its access rules.
const NOT_AUTHORIZED: u8 = 0x87;

/// Accepted, although nobody subscribes to it.
const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;

/// What the broker did with one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishAnswer {
    /// It took it.
    Accepted,
    /// Its access rules refuse the topic.
    Refused,
    /// A code that says neither.
    Other(u8),
}

/// Publishes an empty message to each of these topics, one after the other; the answers, in their order.
pub async fn publish_to(
    door: TlsListenerAddress<'_>,
    client_id: &str,
    certificate: &[u8],
    key: &str,
    topics: &[String],
) -> Result<Vec<PublishAnswer>, String> {
    match timeout(PATIENCE, ask(door, client_id, certificate, key, topics)).await {
        Ok(answers) => answers.map_err(|trouble| trouble.to_string()),
        Err(_) => Err(format!("the broker did not answer within {} s", PATIENCE.as_secs())),
    }
}

// === impl Answer ===

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

async fn ask(
    door: TlsListenerAddress<'_>,
    client_id: &str,
    certificate: &[u8],
    key: &str,
    topics: &[String],
) -> Result<Vec<PublishAnswer>, BrokerError> {
    let (host, port) = split(door.address);
    let connector = connector(door, certificate, key).await?;
    let connect = outgoing::bare_connect(client_id)?;
    let mut link = MqttStream::open_tls(host, port, &connector).await?;
    let mut incoming = Vec::new();
    link.introduce(&connect, &mut incoming).await?;
    let mut answers = Vec::with_capacity(topics.len());
    // One at a time: whatever window the broker allows, it is kept.
    for (topic, packet_id) in topics.iter().zip(1..) {
        link.write(&packet(topic, packet_id)?).await?;
        answers.push(PublishAnswer::of(answer(&mut link, &mut incoming, packet_id).await?));
    }
    link.close(&outgoing::DISCONNECT).await;
    Ok(answers)
}

fn packet(topic: &str, packet_id: u16) -> Result<BytesMut, BrokerError> {
    let mut packet = Publish::new(topic, QoS::AtLeastOnce, Bytes::new(), None);
    packet.pkid = packet_id;
    let mut buffer = BytesMut::new();
    packet.write(&mut buffer).map_err(unsendable)?;
    Ok(buffer)
}

/// Waits for the PUBACK of this message; its code.
async fn answer(link: &mut MqttStream, incoming: &mut Vec<Incoming>, wanted: u16) -> Result<u8, BrokerError> {
    loop {
        for packet in incoming.drain(..) {
            match packet {
                Incoming::PubAck { packet_id, code } if packet_id == wanted => return Ok(code),
                Incoming::Disconnect(farewell) => return Err(BrokerError::Dismissed(farewell)),
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
