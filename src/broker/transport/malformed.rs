//! How a broker breaks MQTT 5. Data only.

/// What breaks MQTT 5: nothing after them can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// More than four length bytes.
    #[error("the length of a packet is invalid")]
    Length,
    /// A type that a broker does not send to a client.
    #[error("unexpected packet of type {0}")]
    Type(u8),
    /// A control packet whose body cannot be read.
    #[error("the body of a packet of type {0} is invalid")]
    Body(u8),
    /// Another packet arrived before CONNACK.
    #[error("the first packet is not CONNACK")]
    NotConnAck,
    /// A message without a topic: its topic alias was never set.
    #[error("a message has a topic alias, and Sluice offers none")]
    Alias,
    /// A control packet over the limit.
    #[error("a packet of type {0} exceeds MQTT_MAX_PACKET_BYTES")]
    Size(u8),
    /// AUTH, while no newer token waits for its answer.
    #[error("AUTH without a renewal of the login")]
    UnrequestedAuth,
    /// Another CONNACK on a connection that has one.
    #[error("a second CONNACK")]
    SecondConnAck,
}

// === impl Malformed ===

impl Malformed {
    /// Whether the bytes are a packet of MQTT 5, at a time at which no broker may send it.
    pub const fn is_out_of_turn(self) -> bool {
        matches!(self, Self::UnrequestedAuth | Self::SecondConnAck)
    }
}
