//! Credentials of AWS: what signs a URL, and how long.
//!
//! It reads no clock and knows no source.

use crate::config::secret::Secret;
use crate::domain::time::Timestamp;

/// Credentials with less than this left are renewed, if it is less than a quarter of their life.
const RENEW_SECONDS: f64 = 300.0;

/// Credentials with less than this left sign nothing: a connection takes some seconds.
const UNUSABLE_SECONDS: f64 = 10.0;

/// What signs a URL. Its secrets are not in its `Debug` output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsCredentials {
    /// The public half.
    pub access_key_id: String,
    /// The secret half.
    pub secret: Secret,
    /// The token of temporary credentials.
    pub session_token: Option<Secret>,
    /// When Sluice got them.
    pub obtained: Timestamp,
    /// Their end; `None`: not known.
    pub expires: Option<Timestamp>,
}

// === impl AwsCredentials ===

impl AwsCredentials {
    /// Seconds until their end.
    pub fn seconds_left(&self, now: Timestamp) -> f64 {
        self.expires.map_or(f64::INFINITY, |expires| expires.seconds_since(now))
    }

    /// Whether a connection can still be signed with them.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.seconds_left(now) > UNUSABLE_SECONDS
    }

    /// Whether others should be requested: little is left of them.
    pub fn is_renewal_due(&self, now: Timestamp) -> bool {
        self.seconds_left(now) < self.renewal_margin()
    }

    /// How long before their end they are renewed: five minutes, or a quarter of a shorter life.
    fn renewal_margin(&self) -> f64 {
        RENEW_SECONDS.min(self.seconds_left(self.obtained) / 4.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn living(seconds: Option<i64>) -> AwsCredentials {
        let obtained = Timestamp::from_micros(0);
        AwsCredentials {
            access_key_id: "AKIA".into(),
            secret: Secret::new("hidden".into()),
            session_token: Some(Secret::new("hidden".into())),
            obtained,
            expires: seconds.map(|seconds| obtained.plus_seconds(seconds)),
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(0).plus_seconds(seconds)
    }

    #[test]
    fn they_are_renewed_five_minutes_before_their_end_or_a_quarter_of_a_short_life() {
        let hour = living(Some(3600));
        assert!(!hour.is_renewal_due(at(3300)) && hour.is_renewal_due(at(3301)));
        let short = living(Some(88));
        assert!(!short.is_renewal_due(at(66)) && short.is_renewal_due(at(67)));
        assert!(!living(None).is_renewal_due(at(1_000_000)));
    }

    #[test]
    fn they_sign_nothing_in_their_last_seconds() {
        let hour = living(Some(3600));
        assert!(hour.is_usable(at(3589)) && !hour.is_usable(at(3590)));
        assert!(!hour.is_usable(at(4000)) && living(None).is_usable(at(4000)));
    }

    #[test]
    fn debug_output_has_no_secret() {
        assert!(!format!("{:?}", living(None)).contains("hidden"));
    }
}
