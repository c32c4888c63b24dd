//! `time`: when the request arrived and when the response leaves, so that a device can set its clock.
//!
//! It needs no database.

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::DeviceCall;
use super::reply::ReplyResult;
use crate::domain::time::Timestamp;

/// Microseconds of a millisecond.
const MICROS_PER_MILLI: i64 = 1_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimeParams {
    /// The device's own time when it sent the request, in any form: the response repeats it.
    #[serde(default)]
    t0: Value,
}

pub(super) fn answer(call: &DeviceCall<'_>) -> ReplyResult {
    let TimeParams { t0 } = call.params()?;
    let (t1, t2) = (millis(call.received_at), millis((call.clock)()));
    Ok(json!({ "t0": t0, "t1": t1, "t2": t2 }).into())
}

const fn millis(time: Timestamp) -> i64 {
    time.micros().div_euclid(MICROS_PER_MILLI)
}
