//! Who ended a connection, and whether a message in flight may be the cause.
//!
//! It knows errors only, and counts nothing.

use crate::broker::error::BrokerError;
use crate::broker::transport::web_socket_fault::WebSocketFault;

/// DISCONNECT codes of load, quota, session or service: 0x89 busy, 0x8B shutting down, 0x8D keep-alive
/// timeout, 0x8E taken over, 0x96 message rate, 0x97 quota, 0x98 administrative action, 0x9C and 0x9D
/// another server, 0x9F connection rate, 0xA0 maximum connect time.
const BLAMELESS: [u8; 11] = [0x89, 0x8b, 0x8d, 0x8e, 0x96, 0x97, 0x98, 0x9c, 0x9d, 0x9f, 0xa0];

/// Websocket close codes of the service: going away, restart, try again later.
const BLAMELESS_CLOSES: [u16; 3] = [1001, 1012, 1013];

/// Whether the other broker ended the connection; else the network, or Sluice.
pub(super) fn is_by_broker(error: &BrokerError) -> bool {
    matches!(
        error,
        BrokerError::Closed
            | BrokerError::Dismissed(_)
            | BrokerError::Broken(_)
            | BrokerError::WebSocket(WebSocketFault::Closed { .. })
    )
}

/// Whether the end may be due to a message: a broker that names a cause outside the messages would
/// send the same for any of them, and a good message must not become a dead letter for it.
pub(super) fn may_be_a_message(error: &BrokerError) -> bool {
    match error {
        BrokerError::Dismissed(reason) => !BLAMELESS.contains(&reason.code),
        BrokerError::WebSocket(WebSocketFault::Closed { code, .. }) => {
            !BLAMELESS_CLOSES.contains(code)
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::transport::packets::DisconnectReason;

    fn dismissed(code: u8) -> BrokerError {
        BrokerError::Dismissed(DisconnectReason { code, reason: None, server: None })
    }

    fn closed(code: u16) -> BrokerError {
        BrokerError::WebSocket(WebSocketFault::Closed { code, reason: String::new() })
    }

    #[test]
    fn a_close_frame_is_an_end_by_the_broker_as_a_closed_socket_is() {
        for error in [BrokerError::Closed, dismissed(0x87), closed(1008), closed(1011)] {
            assert!(is_by_broker(&error) && may_be_a_message(&error), "{error}");
        }
        assert!(!is_by_broker(&BrokerError::WebSocket(WebSocketFault::Text)));
        assert!(!is_by_broker(&BrokerError::Silent { seconds: 90 }));
    }

    #[test]
    fn codes_of_load_session_and_service_blame_no_message() {
        for error in BLAMELESS.map(dismissed).iter().chain(&BLAMELESS_CLOSES.map(closed)) {
            assert!(is_by_broker(error) && !may_be_a_message(error), "{error}");
        }
    }
}
