//! Tries each message that Sluice must be able to publish, and names the access rule that is missing.
//!
//! The messages are empty and go to the probe's topics: no device receives them, and the daemon
//! ignores them.

use std::time::Duration;

use tokio::time::timeout;

use super::isolation_probe::publish_each;
use crate::broker::error::BrokerError;
use crate::broker::exchange::needed_writes::NeededWrite;
use crate::broker::transport::mqtt_stream::MqttStream;
use crate::broker::transport::outgoing;
use crate::config::sections::broker::BrokerConfig;
use crate::domain::finding::Finding;

/// Connect, publish to all topics, disconnect.
const PATIENCE: Duration = Duration::from_secs(20);

/// PUBACK codes from this one on mean a refusal.
const REFUSED: u8 = 0x80;

/// Tries each of `writes` as the user of `config`, under its client id.
pub(super) async fn try_writes(
    config: &BrokerConfig,
    writes: &[NeededWrite],
) -> Result<Vec<Finding>, BrokerError> {
    let tried: Vec<_> = writes.iter().filter(|write| write.try_topic.is_some()).collect();
    let topics: Vec<String> = tried
        .iter()
        .filter_map(|write| write.try_topic.as_ref())
        .map(ToString::to_string)
        .collect();
    let codes = timeout(PATIENCE, publish(config, &topics)).await.unwrap_or_else(|_| {
        Err(BrokerError::NoAnswer { packet: "PUBLISH", seconds: PATIENCE.as_secs() })
    })?;
    let user =
        config.username.as_ref().map_or("this user".to_owned(), |name| format!("user {name}"));
    let mut findings: Vec<_> = tried
        .iter()
        .zip(&codes)
        .filter(|(_, code)| **code >= REFUSED)
        .map(|(write, code)| judge(write, *code, &user))
        .collect();
    if findings.is_empty() {
        findings
            .push(Finding::ok("the broker accepts what Sluice publishes to devices and callers"));
    }
    findings.extend(writes.iter().filter(|write| write.try_topic.is_none()).map(|write| {
        let filter = &write.filter;
        Finding::ok(format!("not tried: each caller would receive a message to {filter}"))
    }));
    Ok(findings)
}

// --- private helpers ---

async fn publish(config: &BrokerConfig, topics: &[String]) -> Result<Vec<u8>, BrokerError> {
    let connect = outgoing::publisher_connect(config)?;
    let mut link = MqttStream::open(config).await?;
    let mut incoming = Vec::new();
    link.send_connect(&connect, &mut incoming).await?;
    let codes = publish_each(&mut link, &mut incoming, topics).await?;
    link.close(&outgoing::DISCONNECT).await;
    Ok(codes)
}

/// What is missing; an error if an enabled API needs it.
fn judge(write: &NeededWrite, code: u8, user: &str) -> Finding {
    let what = format!("the broker refuses messages to {} (code 0x{code:02X})", write.filter);
    let advice =
        format!("add the access rule `{}` for {user} (Mosquitto's acl_file)", write.line());
    if write.is_required { Finding::error(what, advice) } else { Finding::warning(what, advice) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::finding::Severity;

    #[test]
    fn a_refusal_names_the_line_and_is_an_error_only_for_an_enabled_api() {
        let write = NeededWrite::tried("a/+", "a/b");
        let finding = judge(&write, 0x87, "user sluice");
        assert_eq!(finding.level, Severity::Warning);
        assert_eq!(finding.what, "the broker refuses messages to a/+ (code 0x87)");
        assert_eq!(
            finding.advice.as_deref(),
            Some("add the access rule `topic write a/+` for user sluice (Mosquitto's acl_file)")
        );
        let required = NeededWrite { is_required: true, ..write };
        assert_eq!(judge(&required, 0x87, "this user").level, Severity::Error);
    }
}
