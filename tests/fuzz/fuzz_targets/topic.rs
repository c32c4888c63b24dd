//! Any bytes as a topic: no panic, and what is accepted is exactly what the topic says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::domain::topic::Topic;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(topic) = Topic::parse(bytes) {
        let start = format!("tenant/{}/device/{}/{}", topic.tenant, topic.device, topic.msg_type);
        assert_eq!(start.as_bytes(), bytes);
    }
});
