//! The topic of a request: which device asks, and for which route.
//!
//! It accepts routes that do not exist: they get an answer, too.

use crate::domain::ids::DeviceKey;
use crate::domain::topic::Owned;

/// What the path of a request begins with.
const REQUEST_ROOT: &str = "request/";

/// Longest route, in bytes: it becomes a part of the topic of the response.
const MAX_ROUTE: usize = 64;

/// A device and the route of its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestAddress {
    pub device: DeviceKey,
    /// The path behind `request/`.
    pub route: Box<str>,
}

// === impl RequestAddress ===

impl RequestAddress {
    /// Reads the topic of a request.
    pub(super) fn parse(topic: &[u8]) -> Option<Self> {
        let owned = Owned::parse(topic).ok()?;
        let route = owned.msg_type.strip_prefix(REQUEST_ROOT)?;
        let is_route = (1..=MAX_ROUTE).contains(&route.len())
            && route.split('/').all(|word| !word.is_empty())
            && route.bytes().all(|byte| byte.is_ascii_graphic() && !b"+#".contains(&byte));
        let device = owned.identity.parse().ok()?;
        is_route.then(|| Self { device, route: route.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_names_a_device_and_a_route_that_need_not_exist() {
        for route in ["time", "certificate/renew", "no-such/route"] {
            let topic = format!("tenant/acme/device/pump-1/request/{route}");
            let address = RequestAddress::parse(topic.as_bytes()).unwrap();
            assert_eq!(address.device, DeviceKey::new("acme", "pump-1").unwrap());
            assert_eq!(&*address.route, route);
        }
    }

    #[test]
    fn other_topics_are_no_requests() {
        for path in [
            "request",
            "request/",
            "request//x",
            "request/x/",
            "request/a b",
            "request/\u{e9}",
            "request/+",
            "response/time/accepted",
            "requests/time",
            "",
        ] {
            let topic = format!("tenant/acme/device/pump-1/{path}");
            assert_eq!(RequestAddress::parse(topic.as_bytes()), None, "{path}");
        }
        assert_eq!(RequestAddress::parse(b"tenant/a/device/b c/request/time"), None);
        assert_eq!(RequestAddress::parse(b"coa-request"), None);
        let long = format!("tenant/a/device/b/request/{}", "x".repeat(65));
        assert_eq!(RequestAddress::parse(long.as_bytes()), None);
    }
}
