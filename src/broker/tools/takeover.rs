//! Ends the live session of a revoked device: a CONNECT with its client id takes the session over,
//! then disconnects.
//!
//! A new CRL prevents a reconnect and does not end a live session. The devices' listener uses the
//! common name as client id (`use_username_as_clientid true`); the listener of Sluice allows any
//! client id. It ends only this session, and publishes and subscribes to nothing.

use crate::broker::error::BrokerError;
use crate::broker::transport::mqtt_stream::MqttStream;
use crate::broker::transport::outgoing;
use crate::config::sections::broker::BrokerConfig;

/// How long a session waits for its owner, who has another certificate with the same name.
const KEPT_SECONDS: u32 = 3600;

/// What happens to the session's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeoverEnd {
    /// Dropped: no valid certificate with this name is left.
    Nothing,
    /// Kept for the device, which has another valid certificate.
    Messages,
}

/// Ends the session of this client id, if there is one. After the broker's answer, its only client
/// with this id is this connection.
pub async fn end_session(
    config: &BrokerConfig,
    client_id: &str,
    leaving: TakeoverEnd,
) -> Result<(), BrokerError> {
    let keep_seconds = (leaving == TakeoverEnd::Messages).then_some(KEPT_SECONDS);
    let connect = outgoing::takeover_connect(config, client_id, keep_seconds)?;
    let mut link = MqttStream::open(config).await?;
    link.send_connect(&connect, &mut Vec::new()).await?;
    link.close(&outgoing::DISCONNECT).await;
    Ok(())
}
