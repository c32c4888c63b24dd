//! A cached grant in the form that may be shown: its age, and all that the authorizer uses except
//! the token's hash.
//!
//! The ops listener returns it, `sluice explain` reads it. It decides nothing.

use std::time::Instant;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sluice_shared::proof::ShortFingerprint;
use uuid::Uuid;

use super::Grant;
use crate::domain::device::{CertificateWindow, Device, DeviceStatus, RegistryAnswer};
use crate::domain::hex;
use crate::domain::time::Timestamp;
use crate::domain::token::TokenHash;

/// A cached grant without its secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GrantView {
    /// Seconds since the registry was queried.
    pub age_seconds: f64,
    /// Seconds until it expires, unless a registry change removes it.
    pub good_for_seconds: f64,
    /// Whether the tenant was suspended.
    pub tenant_suspended: bool,
    /// Whether the device was registered.
    pub registered: bool,
    /// Its status.
    pub status: Option<String>,
    /// Its site.
    pub site_id: Option<String>,
    /// Whether it had a token.
    pub has_token: bool,
    /// Validity of its certificates.
    pub certificates: Vec<ValidityWindow>,
}

/// One certificate, and when it is valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidityWindow {
    id: Uuid,
    /// The first half of the fingerprint.
    fingerprint: String,
    not_before: DateTime<Utc>,
    not_after: DateTime<Utc>,
}

// === impl GrantView ===

impl GrantView {
    /// The view at `now`; `moment` is the same time by the monotonic clock.
    pub fn of(grant: &Grant, now: Timestamp, moment: Instant) -> Self {
        let device = grant.answer.device.as_ref();
        // After the clock is set back, the age would be negative.
        let age_seconds = now.seconds_since(grant.queried_at).max(0.0);
        Self {
            age_seconds,
            good_for_seconds: grant.until.saturating_duration_since(moment).as_secs_f64(),
            tenant_suspended: grant.answer.tenant_suspended,
            registered: device.is_some(),
            status: device.map(|device| device.status.label().to_owned()),
            site_id: device.and_then(|device| device.site.as_deref().map(str::to_owned)),
            has_token: device.is_some_and(|device| device.token.is_some()),
            certificates: device
                .map(|device| device.certificates.iter().map(ValidityWindow::from).collect())
                .unwrap_or_default(),
        }
    }

    /// The registry answer, with the token's hash taken from `token`. `None` if it had a token and
    /// `token` is `None`, or if the status is unknown.
    pub fn answer(&self, token: Option<TokenHash>) -> Option<RegistryAnswer> {
        let tenant_suspended = self.tenant_suspended;
        if !self.registered {
            return Some(RegistryAnswer { tenant_suspended, device: None });
        }
        let token = if self.has_token { Some(token?) } else { None };
        let device = Device {
            status: DeviceStatus::from_label(self.status.as_deref()?)?,
            site: self.site_id.as_deref().map(Into::into),
            token,
            certificates: self.certificates.iter().map(CertificateWindow::from).collect(),
        };
        Some(RegistryAnswer { tenant_suspended, device: Some(device) })
    }
}

// === impl ValidityWindow ===

impl From<&CertificateWindow> for ValidityWindow {
    fn from(window: &CertificateWindow) -> Self {
        Self {
            id: window.id,
            fingerprint: hex::encode(&window.fingerprint.0),
            not_before: window.not_before.to_utc(),
            not_after: window.not_after.to_utc(),
        }
    }
}

impl From<&ValidityWindow> for CertificateWindow {
    fn from(window: &ValidityWindow) -> Self {
        Self {
            id: window.id,
            // No certificate has the fingerprint of an unreadable text.
            fingerprint: ShortFingerprint(hex::decode(&window.fingerprint).unwrap_or_default()),
            not_before: window.not_before.into(),
            not_after: window.not_after.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::ids::DeviceKey;
    use crate::domain::time::MICROS_PER_SECOND;
    use crate::ingest::grants::Grants;

    #[test]
    fn the_view_decides_like_the_grant_and_contains_no_hash() {
        let second = Timestamp::from_micros(MICROS_PER_SECOND);
        let window = CertificateWindow {
            id: Uuid::from_u128(7),
            fingerprint: ShortFingerprint([9; 16]),
            not_before: second,
            not_after: second.plus_seconds(1_000_000),
        };
        let token = TokenHash([0xab; 32]);
        let (status, site) = (DeviceStatus::Inactive, Some("north".into()));
        let device = Device { status, site, token: Some(token), certificates: [window].into() };
        let answer = RegistryAnswer { tenant_suspended: true, device: Some(device) };
        let config =
            crate::config::Config::load(&crate::config::Sources::default()).unwrap().config.ingest;
        let key = DeviceKey::new("acme", "pump-1").unwrap();
        let grant = Grants::new(&config).insert(key, answer.clone(), second);

        let twelve_later = grant.until.checked_sub(Duration::from_secs(288)).unwrap();
        let view = GrantView::of(&grant, second.plus_seconds(12), twelve_later);
        let text = serde_json::to_string(&view).unwrap();
        assert!(!text.contains("abab"), "{text}");
        assert_eq!(serde_json::from_str::<GrantView>(&text).unwrap(), view);
        assert!(
            (view.age_seconds - 12.0).abs() < 0.001
                && (view.good_for_seconds - 288.0).abs() < 0.001,
            "{view:?}"
        );
        assert_eq!(view.answer(Some(token)), Some(answer));
        assert_eq!(view.answer(None), None);
    }
}
