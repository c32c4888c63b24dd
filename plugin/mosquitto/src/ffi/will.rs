//! Publishes a will once more, with its proof.

#![expect(unsafe_code, reason = "the boundary to C, see ffi.rs")]

use std::ffi::c_int;

use super::abi::{AclCheck, ERR_SUCCESS};
use super::broker::Broker;
use super::property_list::BrokerProperties;
use crate::instance::Instance;
use crate::properties;
use crate::request::Stamp;

/// Publishes a will once more, with its proof.
pub(super) fn publish_will(broker: &Broker, event: &AclCheck, stamp: &Stamp, instance: &Instance) {
    let mut head = std::ptr::null_mut();
    let mut list = BrokerProperties { broker: *broker, head: &mut head };
    let changed = properties::replace(&mut list, Some(stamp));
    let published = changed.is_complete && {
        // SAFETY: topic and payload are the event's; the broker copies them and takes the properties.
        let result = unsafe {
            (broker.publish_copy)(
                std::ptr::null(),
                event.topic,
                c_int::try_from(event.payload_len).unwrap_or_default(),
                event.payload,
                c_int::from(event.qos),
                event.retain,
                head,
            )
        };
        result == ERR_SUCCESS
    };
    if !published && !changed.is_complete {
        // SAFETY: the list was not given to the broker.
        unsafe { (broker.free_all)(&raw mut head) };
    }
    instance.count_will(published);
}
