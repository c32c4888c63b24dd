//! Reads the broker's version: the retained message at `$SYS/broker/version`, through a short
//! connection.
//!
//! It uses its own client id, never `MQTT_CLIENT_ID`, and concludes nothing from the answer.

use std::fmt;
use std::time::Duration;

use tokio::time::timeout;

use crate::broker::error::BrokerError;
use crate::broker::transport::mqtt_stream::MqttStream;
use crate::broker::transport::outgoing;
use crate::broker::transport::packets::Incoming;
use crate::config::sections::broker::BrokerConfig;

const TOPIC: &str = "$SYS/broker/version";

/// Upper bound for connecting, reading and disconnecting. The publisher of the CRL waits for it.
const PATIENCE: Duration = Duration::from_secs(3);

/// Longest text kept of the version.
const MAX_CHARS: usize = 100;

/// The version a broker publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerVersion {
    text: String,
    mosquitto: Option<(u32, u32)>,
}

/// Reads the version. The error is a sentence for the operator.
pub async fn query(config: &BrokerConfig) -> Result<BrokerVersion, String> {
    let address = config.address();
    match timeout(PATIENCE, read_version(config)).await {
        Ok(Ok(text)) => Ok(BrokerVersion::read(&text)),
        Ok(Err(error)) => {
            Err(format!("the version of the broker at {address} cannot be read: {error}"))
        }
        Err(_) => Err(format!(
            "the broker at {address} published no version within {} s: let the user of Sluice read {TOPIC}",
            PATIENCE.as_secs()
        )),
    }
}

// --- private helpers ---

async fn read_version(config: &BrokerConfig) -> Result<String, BrokerError> {
    let mark = uuid::Uuid::new_v4().simple().to_string();
    let client_id = format!("{}-version-{}", config.client_id, &mark[..8]);
    let config = BrokerConfig { client_id, ..config.clone() };
    let mut link = MqttStream::open(&config).await?;
    let mut incoming = Vec::new();
    link.send_connect(&outgoing::inspector_connect(&config, 1)?, &mut incoming).await?;
    link.write(&outgoing::inspector_subscribe(TOPIC, true)?).await?;
    loop {
        for packet in incoming.drain(..) {
            match packet {
                Incoming::Publish(message) => {
                    let text = String::from_utf8_lossy(&message.payload).into_owned();
                    link.close(&outgoing::DISCONNECT).await;
                    return Ok(text);
                }
                Incoming::SubAck { codes, .. } => {
                    if let Some(&code) = codes.first().filter(|&&code| code >= 0x80) {
                        return Err(BrokerError::SubscriptionRefused {
                            filter: TOPIC.to_owned(),
                            code,
                        });
                    }
                }
                Incoming::Disconnect(reason) => return Err(BrokerError::Dismissed(reason)),
                _ => {}
            }
        }
        link.drain(&mut incoming).await?;
    }
}

// === impl BrokerVersion ===

impl BrokerVersion {
    /// Parses the text of a broker, such as `mosquitto version 2.1.2`.
    pub fn read(text: &str) -> Self {
        let text: String =
            text.chars().filter(|letter| !letter.is_control()).take(MAX_CHARS).collect();
        let numbers = text.strip_prefix("mosquitto version ").and_then(|rest| {
            let mut parts = rest.split(|letter: char| !letter.is_ascii_digit());
            Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
        });
        Self { mosquitto: numbers, text }
    }

    /// Whether `%u` in a pattern matches a name with slashes, as before 2.1. `None` means it is not
    /// Mosquitto.
    pub fn patterns_match_slashes(&self) -> Option<bool> {
        self.mosquitto.map(|numbers| numbers < (2, 1))
    }
}

impl fmt::Display for BrokerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mosquitto_has_version_numbers() {
        for (text, numbers, patterns) in [
            ("mosquitto version 2.0.11", Some((2, 0)), Some(true)),
            ("mosquitto version 2.1.2", Some((2, 1)), Some(false)),
            ("mosquitto version 2.1-rc1\n", Some((2, 1)), Some(false)),
            ("mosquitto version 3.0.0", Some((3, 0)), Some(false)),
            ("mosquitto version 1.6.9", Some((1, 6)), Some(true)),
            ("5.8.0", None, None),
            ("mosquitto version next", None, None),
        ] {
            let version = BrokerVersion::read(text);
            assert_eq!(
                (version.mosquitto, version.patterns_match_slashes()),
                (numbers, patterns),
                "{text}"
            );
        }
    }
}
