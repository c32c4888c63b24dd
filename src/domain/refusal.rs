//! Why a message is refused: the closed list of reasons, in the order of the checks.
//!
//! It decides nothing. The names are the same in SQL, in metrics and in texts.

use std::borrow::Cow;
use std::fmt;

/// Why a message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reason {
    /// The topic is not `tenant/<t>/device/<d>/<type>`.
    BadTopicFormat,
    /// More bytes than `MAX_PAYLOAD_BYTES`.
    PayloadTooLarge,
    /// Not a JSON object, too deep, or a field of the wrong type.
    BadPayload,
    /// A `version` other than "1".
    UnsupportedVersion,
    /// The payload names another tenant than the topic.
    TenantMismatch,
    /// The payload names another device than the topic.
    DeviceMismatch,
    /// `ts` is neither RFC 3339 nor Unix time.
    BadTimestamp,
    /// `ts` is too far in the future or the past.
    TimestampOutOfRange,
    /// A proof of the publisher is required, and the message has no valid one.
    PublisherUnproven,
    /// Another identity than the topic's device is proven to have published it.
    PublisherMismatch,
    /// The tenant is suspended.
    TenantSuspended,
    /// No such device in the registry.
    UnregisteredDevice,
    /// The device is revoked.
    DeviceRevoked,
    /// The device is deactivated.
    DeviceInactive,
    /// The payload names another site than the registry.
    SiteMismatch,
    /// A token is required and the registry has none for the device.
    TokenNotSet,
    /// A token is required and the message carries none.
    TokenMissing,
    /// The token is not the device's.
    TokenInvalid,
    /// The device sends faster than `RATE_LIMIT_RPS`.
    RateLimited,
    /// The database refused the row.
    StoreRejected,
}

/// A refusal: the reason, and one sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The typed reason.
    pub reason: Reason,
    /// What exactly was wrong; never contains a secret.
    pub detail: Cow<'static, str>,
}

// === impl Reason ===

impl Reason {
    /// Every reason, in the order of the checks.
    pub const ALL: [Self; 20] = [
        Self::BadTopicFormat,
        Self::PayloadTooLarge,
        Self::BadPayload,
        Self::UnsupportedVersion,
        Self::TenantMismatch,
        Self::DeviceMismatch,
        Self::BadTimestamp,
        Self::TimestampOutOfRange,
        Self::PublisherUnproven,
        Self::PublisherMismatch,
        Self::TenantSuspended,
        Self::UnregisteredDevice,
        Self::DeviceRevoked,
        Self::DeviceInactive,
        Self::SiteMismatch,
        Self::TokenNotSet,
        Self::TokenMissing,
        Self::TokenInvalid,
        Self::RateLimited,
        Self::StoreRejected,
    ];

    /// Stable name in the table, in the metric and in texts.
    pub const fn label(self) -> &'static str {
        match self {
            Self::BadTopicFormat => "BAD_TOPIC_FORMAT",
            Self::PayloadTooLarge => "PAYLOAD_TOO_LARGE",
            Self::BadPayload => "BAD_PAYLOAD",
            Self::UnsupportedVersion => "UNSUPPORTED_VERSION",
            Self::TenantMismatch => "TENANT_MISMATCH_TOPIC_VS_PAYLOAD",
            Self::DeviceMismatch => "DEVICE_MISMATCH_TOPIC_VS_PAYLOAD",
            Self::BadTimestamp => "BAD_TIMESTAMP",
            Self::TimestampOutOfRange => "TIMESTAMP_OUT_OF_RANGE",
            Self::PublisherUnproven => "PUBLISHER_UNPROVEN",
            Self::PublisherMismatch => "PUBLISHER_MISMATCH",
            Self::TenantSuspended => "TENANT_SUSPENDED",
            Self::UnregisteredDevice => "UNREGISTERED_DEVICE",
            Self::DeviceRevoked => "DEVICE_REVOKED",
            Self::DeviceInactive => "DEVICE_INACTIVE",
            Self::SiteMismatch => "SITE_MISMATCH_REGISTRY_VS_PAYLOAD",
            Self::TokenNotSet => "TOKEN_NOT_SET_IN_REGISTRY",
            Self::TokenMissing => "TOKEN_MISSING",
            Self::TokenInvalid => "TOKEN_INVALID",
            Self::RateLimited => "RATE_LIMITED",
            Self::StoreRejected => "STORE_REJECTED",
        }
    }

    /// Position in [`Reason::ALL`], for arrays of counters.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The reason of that name.
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.label() == label)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

// === impl Refusal ===

impl Refusal {
    /// A refusal with its sentence.
    pub fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_own_place_and_is_found_by_its_name() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), place);
            assert_eq!(Reason::from_label(reason.label()), Some(reason));
        }
        assert_eq!(Reason::from_label("AUTH_FAILED"), None);
    }
}
