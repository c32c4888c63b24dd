//! Times of X.509: whole seconds, between the years 1 and 9999. It reads no clock.

use x509_parser::time::ASN1Time;

use crate::domain::time::{MICROS_PER_SECOND, Timestamp};

/// Rounds a time down to the second.
pub fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_micros(seconds(time).saturating_mul(MICROS_PER_SECOND))
}

/// Converts to X.509. `None` means X.509 cannot represent it.
pub fn to_x509(time: Timestamp) -> Option<ASN1Time> {
    ASN1Time::from_timestamp(seconds(time)).ok()
}

/// Converts from X.509.
pub fn from_x509(time: ASN1Time) -> Timestamp {
    Timestamp::from_micros(time.timestamp().saturating_mul(MICROS_PER_SECOND))
}

const fn seconds(time: Timestamp) -> i64 {
    time.micros().div_euclid(MICROS_PER_SECOND)
}
