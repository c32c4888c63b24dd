//! A message as another broker would deliver it over a link, for an explanation.
//!
//! It connects to nothing, and nothing is stored: the message exists for the checks alone.

use bytes::Bytes;

use crate::domain::message::Delivery;
use crate::domain::remote::RemoteMessage;
use crate::domain::time::Timestamp;
use crate::link::receiver::translation::{Arrived, Translation};
use crate::link::settings::LinkSettings;

/// Why a message over a link would be dropped.
pub const DROPPED: &str = "dropped: it has passed this installation, or its topic begins with $";

/// What a person knows of the message.
#[derive(Clone, Debug)]
pub struct SampleMessage {
    /// The topic at the other broker.
    pub topic: String,
    /// The payload.
    pub payload: Bytes,
    /// The Content Type.
    pub content_type: Option<String>,
    /// The User Properties.
    pub properties: Vec<(String, String)>,
}

// === impl SampleMessage ===

impl SampleMessage {
    /// What the link makes of the message. `node` is the name of this installation.
    pub fn delivery(self, link: &LinkSettings, node: &str, received_at: Timestamp) -> Delivery {
        let message = RemoteMessage {
            topic: self.topic.into(),
            payload: self.payload,
            cut_from: None,
            content_type: self.content_type,
            user_properties: self.properties,
            correlation: None,
            expires_in: None,
            is_retained: false,
            dup: false,
            received_at,
            ack: None,
        };
        let arrived = Arrived { held_since: received_at, redelivered: false };
        let translation = Translation::new(link.name.clone(), &link.ingest, node.into());
        translation.delivery(message, arrived)
    }
}
