//! The topic of a response: the one that the request names if it belongs to the same device,
//! otherwise the route's own.
//!
//! Mosquitto forwards any Response Topic unchecked. Without the check a device could let Sluice
//! publish to topics of others.

use super::address::RequestAddress;
use crate::domain::exchange::{MAX_RESPONSE_TOPIC, PublishTopic, RequestMessage};

/// The topics of a response, by its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResponseTopics {
    pub accepted: PublishTopic,
    pub rejected: PublishTopic,
    /// Whether the request names a topic that is not used.
    pub is_ignored: bool,
}

/// The topics for the response to this request; `None` if no topic can be made of its route.
pub(super) fn choose(request: &RequestMessage, address: &RequestAddress) -> Option<ResponseTopics> {
    let root = format!("tenant/{}/response/", address.device.identity());
    let given = request.response_topic.as_deref();
    if let Some(topic) = given.and_then(|given| own_topic(given, &root)) {
        let (accepted, rejected) = (topic.clone(), topic);
        return Some(ResponseTopics { accepted, rejected, is_ignored: false });
    }
    let default = |end| PublishTopic::new(format!("{root}{}/{end}", address.route)).ok();
    Some(ResponseTopics {
        accepted: default("accepted")?,
        rejected: default("rejected")?,
        is_ignored: given.is_some(),
    })
}

fn own_topic(given: &[u8], root: &str) -> Option<PublishTopic> {
    let text = std::str::from_utf8(given).ok().filter(|text| text.len() <= MAX_RESPONSE_TOPIC)?;
    text.strip_prefix(root).filter(|rest| !rest.is_empty())?;
    PublishTopic::new(text).ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::message::ConnectionId;
    use crate::domain::time::Timestamp;

    fn chosen(response_topic: Option<&str>) -> (String, bool) {
        let topic = "tenant/acme/device/pump-1/request/time";
        let request = RequestMessage {
            topic: topic.into(),
            payload: "".into(),
            cut_from: None,
            is_retained: false,
            expires_in: None,
            response_topic: response_topic.map(|text| text.to_owned().into()),
            correlation: None,
            properties: Bytes::new(),
            received_at: Timestamp::default(),
            connection: ConnectionId(1),
        };
        let address = RequestAddress::parse(topic.as_bytes()).unwrap();
        let topics = choose(&request, &address).unwrap();
        (topics.rejected.to_string(), topics.is_ignored)
    }

    #[test]
    fn only_a_topic_below_the_devices_own_responses_is_used() {
        let own = "tenant/acme/device/pump-1/response/";
        let default = format!("{own}time/rejected");
        assert_eq!(chosen(None), (default.clone(), false));
        for used in [format!("{own}9"), format!("{own}a/b/c"), format!("{own}{}", "x".repeat(200))]
        {
            assert_eq!(chosen(Some(&used)), (used.clone(), false));
        }
        for ignored in [
            "",
            "#",
            "tenant/+/x",
            "$SYS/a",
            "coa-response",
            own,
            &format!("{own}+"),
            &format!("{own}#"),
            &format!("{own}a\0b"),
            &format!("{own}{}", "x".repeat(256)),
            "tenant/acme/device/pump-2/response/1",
            "tenant/acme/device/pump-1/request/time",
            "tenant/acme/device/pump-1/telemetry",
            "tenant/acme/device/pump-1/response",
        ] {
            assert_eq!(chosen(Some(ignored)), (default.clone(), true), "{ignored}");
        }
    }
}
