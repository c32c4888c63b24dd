//! Any bytes as a topic: no panic, and an accepted topic is exactly what its bytes say.

use sluice::domain::topic::Topic;

/// Panics if a property does not hold for these bytes.
pub fn check(bytes: &[u8]) {
    if let Ok(topic) = Topic::parse(bytes) {
        let start = format!("tenant/{}/device/{}/{}", topic.tenant, topic.device, topic.msg_type);
        assert_eq!(start.as_bytes(), bytes);
    }
}
