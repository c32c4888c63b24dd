//! What a connection to another broker reports to its caller. Data only.

use crate::domain::remote::RemoteMessage;

/// Something that the other broker did.
#[derive(Debug)]
pub enum RemoteEvent {
    /// PUBACK.
    Answered {
        /// That of the PUBLISH.
        packet_id: u16,
        /// 0x80 and above: refused.
        code: u8,
        /// The broker's reason text.
        reason: Option<String>,
    },
    /// SUBACK: one code for each filter.
    Granted {
        /// That of the SUBSCRIBE.
        packet_id: u16,
        /// 0 to 2: the granted QoS; 0x80 and above: refused.
        codes: Vec<u8>,
    },
    /// UNSUBACK: one code for each filter.
    Unsubscribed {
        /// That of the UNSUBSCRIBE.
        packet_id: u16,
        /// 0x80 and above: refused.
        codes: Vec<u8>,
    },
    /// A message.
    Message(RemoteMessage),
    /// The broker accepted the newer login token.
    Renewed,
}
