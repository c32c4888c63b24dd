//! "Why it is accepted or refused": one or two sentences from the status, the certificates, the last refusal
//! and the last message.
//!
//! It repeats what the registry and the quarantine say; it decides nothing.

use chrono::{DateTime, Utc};

use crate::console::filters::{relative, shortened};
use crate::domain::device::DeviceStatus;
use crate::http::{CertificateView, DeviceDetailView, EventView};
use crate::store::certificates::CertificateStatus;
use crate::store::registry::tenants::TenantStatus;

/// A device is silent after so many seconds without a message.
const SILENT: i64 = 3_600;

/// Most characters of the detail of a refusal.
const DETAIL_CHARS: usize = 200;

/// A sentence, and where it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WhySentence {
    /// `ok`, `warn` or `bad`.
    pub class: &'static str,
    pub icon: &'static str,
    pub text: String,
    pub href: Option<String>,
}

/// The sentences, the cause of most weight first.
pub(super) fn sentences(
    device: &DeviceDetailView,
    certificates: &[CertificateView],
    events: &[EventView],
    quarantine: &str,
    now: DateTime<Utc>,
) -> Vec<WhySentence> {
    let mut said = Vec::new();
    let row = &device.device;
    if device.tenant_status == TenantStatus::Suspended {
        said.push(bad(format!(
            "Tenant {} is SUSPENDED: Sluice refuses the messages of all its devices until an admin activates it.",
            row.tenant_id
        )));
    }
    match row.status {
        DeviceStatus::Active => said.push(authentication(device, certificates, now)),
        DeviceStatus::Inactive => said.push(bad(
            "The device is INACTIVE: Sluice refuses its messages until an operator activates it.".to_owned(),
        )),
        DeviceStatus::Revoked => said.push(bad(
            "The device is REVOKED: Sluice refuses its messages, and it gets no certificate, unless an operator activates it.".to_owned(),
        )),
    }
    if let Some(last) = events.first() {
        said.push(refusal(last, events.len(), quarantine, now));
    }
    said.extend(silence(device, now));
    said
}

// === private helpers ===

fn authentication(
    device: &DeviceDetailView,
    certificates: &[CertificateView],
    now: DateTime<Utc>,
) -> WhySentence {
    let valid = certificates.iter().filter(|certificate| {
        certificate.status == CertificateStatus::Active
            && certificate.not_before <= now
            && now < certificate.not_after
    });
    let token = if device.device.has_token { " It also has a token." } else { "" };
    if let Some(held) = valid.max_by_key(|certificate| certificate.not_after) {
        return ok(format!(
            "Authenticated by certificate {}… until {}.{token}",
            shortened(&held.fingerprint_sha256, 8).trim_end_matches('…'),
            held.not_after.format("%Y-%m-%d")
        ));
    }
    if device.device.has_token {
        return ok("It has no valid certificate; its token authenticates it.".to_owned());
    }
    if certificates.is_empty() {
        return warn("It has neither a certificate nor a token: with REQUIRE_TOKEN=1 Sluice refuses its messages. Issue a certificate or make a token.".to_owned());
    }
    let revoked = certificates.iter().filter(|one| one.status == CertificateStatus::Revoked);
    if let Some(last) = revoked.max_by_key(|one| one.revoked_at)
        && let Some(at) = last.revoked_at
    {
        return bad(format!(
            "Certificate {}… was revoked {} ({}), and the device has no other and no token: if Sluice requires authentication, \
             it refuses its messages. Issue a certificate to accept it again.",
            shortened(&last.fingerprint_sha256, 8).trim_end_matches('…'),
            relative(now, at),
            last.revoked_reason.as_deref().unwrap_or("no reason given"),
        ));
    }
    warn("None of its certificates is valid, and it has no token: if Sluice requires authentication, it refuses its messages. Issue a certificate or make a token.".to_owned())
}

fn refusal(last: &EventView, number: usize, quarantine: &str, now: DateTime<Utc>) -> WhySentence {
    let messages = if number == 1 { "message" } else { "messages" };
    let text = format!(
        "{number} refused {messages} kept in 24 h, the last {}: {}: {}.",
        relative(now, last.quarantined_at),
        last.reason,
        shortened(&last.detail, DETAIL_CHARS)
    );
    WhySentence { href: Some(quarantine.to_owned()), ..bad(text) }
}

fn silence(device: &DeviceDetailView, now: DateTime<Utc>) -> Option<WhySentence> {
    match device.last_seen_at {
        None => Some(warn("Sluice has never accepted a message of it.".to_owned())),
        Some(at) if (now - at).num_seconds() >= SILENT => {
            Some(warn(format!("Sluice accepted its last message {}.", relative(now, at))))
        }
        Some(_) => None,
    }
}

fn ok(text: String) -> WhySentence {
    WhySentence { class: "ok", icon: "check", text, href: None }
}

fn warn(text: String) -> WhySentence {
    WhySentence { class: "warn", icon: "warn", text, href: None }
}

fn bad(text: String) -> WhySentence {
    WhySentence { class: "bad", icon: "cross", text, href: None }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn texts(change: &Value, certificates: &Value, events: &Value) -> Vec<String> {
        let mut device = json!({
            "tenant_id": "acme", "device_id": "pump-7", "site_id": null, "status": "ACTIVE", "has_token": false,
            "created_at": "2026-11-01T00:00:00Z", "updated_at": "2026-11-01T00:00:00Z", "tenant_status": "ACTIVE",
            "metadata": {}, "certificates": 0, "certificates_active": 0,
            "last_seen_at": "2026-11-20T11:59:30Z", "last_telemetry_at": null,
        });
        device.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let device = serde_json::from_value(device).unwrap();
        let certificates: Vec<CertificateView> =
            serde_json::from_value(certificates.clone()).unwrap();
        let events: Vec<EventView> = serde_json::from_value(events.clone()).unwrap();
        let now = "2026-11-20T12:00:00Z".parse().unwrap();
        let said = sentences(&device, &certificates, &events, "/q", now);
        said.into_iter().map(|sentence| format!("{} {}", sentence.class, sentence.text)).collect()
    }

    #[test]
    fn the_cause_comes_first_and_health_is_one_sentence() {
        let none = json!([]);
        let held = json!([{
            "id": "00000000-0000-0000-0000-000000000001", "tenant_id": "acme", "device_id": "pump-7",
            "fingerprint_sha256": "3f9a11223344", "serial_number": "1", "common_name": "cn", "issuer": "ca",
            "status": "ACTIVE", "not_before": "2026-11-01T00:00:00Z", "not_after": "2027-03-01T00:00:00Z",
            "retire_at": null, "replaces": null, "replaced_by": null, "revoked_at": null, "revoked_reason": null,
            "created_at": "2026-11-01T00:00:00Z", "public_key_sha256": null,
        }]);
        let refused = json!([{
            "id": "00000000-0000-0000-0000-000000000001", "quarantined_at": "2026-11-20T11:00:00Z",
            "received_at": "2026-11-20T11:00:00Z", "topic": "t", "tenant_id": "acme", "device_id": "pump-7",
            "reason": "TOKEN_MISSING", "detail": "no token", "payload_bytes": 1, "replayed_at": null, "link": null, "replay_attempts": 0,
        }]);
        let healthy = texts(&json!({}), &held, &none);
        assert_eq!(healthy, ["ok Authenticated by certificate 3f9a1122… until 2027-03-01."]);
        let said =
            texts(&json!({ "status": "INACTIVE", "tenant_status": "SUSPENDED" }), &held, &refused);
        assert!(said[0].starts_with("bad Tenant acme is SUSPENDED"), "{said:?}");
        assert!(said[1].starts_with("bad The device is INACTIVE"), "{said:?}");
        assert_eq!(
            said[2],
            "bad 1 refused message kept in 24 h, the last 1 h ago: TOKEN_MISSING: no token."
        );
        let said = texts(&json!({ "last_seen_at": null }), &none, &none);
        assert!(said[0].starts_with("warn It has neither a certificate nor a token"), "{said:?}");
        assert_eq!(said[1], "warn Sluice has never accepted a message of it.");
        let mut revoked = held.clone();
        revoked[0]["status"] = json!("REVOKED");
        revoked[0]["revoked_at"] = json!("2026-11-20T11:59:00Z");
        revoked[0]["revoked_reason"] = json!("keyCompromise");
        let said = texts(&json!({}), &revoked, &none);
        assert!(
            said[0].starts_with("bad Certificate 3f9a1122… was revoked 1 min ago (keyCompromise)"),
            "{said:?}"
        );
        let said = texts(
            &json!({ "has_token": true, "last_seen_at": "2026-11-20T09:00:00Z" }),
            &none,
            &none,
        );
        assert_eq!(
            said,
            [
                "ok It has no valid certificate; its token authenticates it.",
                "warn Sluice accepted its last message 3 h ago.",
            ]
        );
    }
}
