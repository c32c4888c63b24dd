//! Ends the live session of a revoked device: a CONNECT with its client id takes the session over, and leaves.
//!
//! A new CRL keeps the device from coming back and leaves its live session alone. The device's listener makes the common
//! name its client id (`use_username_as_clientid true`); our own listener lets us use any. It ends one session and no
//! other, and publishes and subscribes to nothing.

use crate::broker::error::BrokerError;
use crate::broker::transport::mqtt_stream::MqttStream;
use crate::broker::transport::outgoing;
use crate::config::sections::broker::BrokerConfig;

/// How long a session waits for its rightful owner, who holds another certificate with the same name.
const KEPT_SECONDS: u32 = 3600;

/// What becomes of the session's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeoverEnd {
    /// Nothing: nobody is left who may have them.
    Nothing,
    /// They wait for the device, which has another, valid certificate.
    Messages,
}

/// Ends the session of this client id, if there is one. Done when the broker has answered: then it has only one client of
/// that name, and that was us.
pub async fn end_session(config: &BrokerConfig, client_id: &str, leaving: TakeoverEnd) -> Result<(), BrokerError> {
    let keep_seconds = (leaving == TakeoverEnd::Messages).then_some(KEPT_SECONDS);
    let connect = outgoing::takeover_connect(config, client_id, keep_seconds)?;
    let mut link = MqttStream::open(config).await?;
    link.introduce(&connect, &mut Vec::new()).await?;
    link.close(&outgoing::DISCONNECT).await;
    Ok(())
}
