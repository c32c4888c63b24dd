//! Moments as X.509 writes them: whole seconds, between the years 1 and 9999.

use x509_parser::time::ASN1Time;

use crate::domain::time::{MICROS_PER_SECOND, Timestamp};

/// The whole second a moment lies in.
pub fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_micros(seconds(time).saturating_mul(MICROS_PER_SECOND))
}

/// As X.509 writes it; none when it has no such way.
pub fn to_x509(time: Timestamp) -> Option<ASN1Time> {
    ASN1Time::from_timestamp(seconds(time)).ok()
}

/// As we write it.
pub fn from_x509(time: ASN1Time) -> Timestamp {
    Timestamp::from_micros(time.timestamp().saturating_mul(MICROS_PER_SECOND))
}

const fn seconds(time: Timestamp) -> i64 {
    time.micros().div_euclid(MICROS_PER_SECOND)
}
