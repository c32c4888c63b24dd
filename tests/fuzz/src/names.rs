//! Any bytes as names, patterns and topics: no panic, a name is exactly what its bytes say, and what a
//! pattern covers it also overlaps.

use sluice_shared::client_ids::{is_of_share_group, replica_of, share_group_stem};
use sluice_shared::ids::DeviceKey;
use sluice_shared::policy::filter::TopicFilter;
use sluice_shared::policy::pattern::{Pattern, Values};
use sluice_shared::subject::Subject;

/// Panics if a property does not hold for these bytes, read as a pattern and a topic around a NUL.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(device) = text.parse::<DeviceKey>() {
        assert_eq!(device.identity(), text);
    }
    let _ = DeviceKey::of_common_name(text);
    assert!(text.starts_with(share_group_stem(text)) && text.starts_with(replica_of(text)));
    let _ = is_of_share_group(text, "sluice");
    let (pattern, topic) = text.split_once('\0').unwrap_or((text, text));
    let Ok(pattern) = Pattern::parse(pattern) else { return };
    let subject = Subject::of_device(DeviceKey::of_probe());
    for values in [Values::as_written(), Values::of(&subject, topic)] {
        for requested in [TopicFilter::topic(topic), TopicFilter::subscription(topic)] {
            let Ok(requested) = requested else { continue };
            let is_covered = pattern.covers(&requested, &values);
            assert!(!is_covered || pattern.overlaps(&requested, &values), "{pattern:?} {topic:?}");
        }
    }
}
