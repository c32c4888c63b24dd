//! Why a websocket ended; the socket's read and write errors carry it.

/// What went wrong with a websocket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebSocketFault {
    /// The server closed it with a reason.
    #[error("the server closed the websocket with code {code}{}", shown(.reason))]
    Closed {
        /// The code of RFC 6455.
        code: u16,
        /// The server's text.
        reason: String,
    },
    /// A text frame: MQTT uses binary ones.
    #[error("the server sent a text frame over the websocket: MQTT uses binary frames")]
    Text,
    /// A frame or message over the limit.
    #[error("the server sent a websocket message of more than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// Bytes that are no websocket.
    #[error("the server sent bytes that are no websocket ({0})")]
    Protocol(String),
}

// --- private helpers ---

fn shown(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" (\"{reason}\")") }
}
