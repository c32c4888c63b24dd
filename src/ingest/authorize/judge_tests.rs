//! Tests of the decision by publisher: each mode, with each state of a proof.

use bytes::Bytes;
use sluice_shared::proof::{ProofError, ShortFingerprint};
use uuid::Uuid;

use super::judge::{AuthRequirements, Authentication, PublishedBy};
use crate::config::sections::ingest::IngestConfig;
use crate::config::sections::plugin::{ProofSettings, PublisherProof};
use crate::config::{Config, Sources};
use crate::domain::device::{CertificateWindow, Device, DeviceStatus, RegistryAnswer, Windows};
use crate::domain::message::Delivery;
use crate::domain::publisher::{ProofFault, ProvenPublisher, Publisher};
use crate::domain::refusal::Reason;
use crate::domain::time::Timestamp;
use crate::domain::token::TokenHash;
use crate::ingest::parse::ParseLimits;
use crate::ingest::parse::parsed::{ParseOutcome, Parsed};

const GATEWAY: &str = "a/device/gateway";
const SERVICE: &str = "forwarder";
const VALID: ShortFingerprint = ShortFingerprint([1; 16]);
const ENDED: ShortFingerprint = ShortFingerprint([2; 16]);
const UNKNOWN: ShortFingerprint = ShortFingerprint([3; 16]);

fn at(second: i64) -> Timestamp {
    Timestamp::default().plus_seconds(second)
}

fn config(mode: PublisherProof, certificates: bool, token: bool) -> IngestConfig {
    IngestConfig {
        cert_auth_enabled: certificates,
        require_token: token,
        proofs: ProofSettings {
            mode,
            gateways: [GATEWAY, SERVICE].map(Into::into).into(),
            ..ProofSettings::off()
        },
        ..Config::load(&Sources::default()).unwrap().config.ingest
    }
}

fn requirements(mode: PublisherProof, certificates: bool, token: bool) -> AuthRequirements {
    AuthRequirements::from(&config(mode, certificates, token))
}

/// Valid from 100 to 200, the other from 0 to 50.
fn answer(status: DeviceStatus) -> RegistryAnswer {
    let window = |id, fingerprint, from, until| CertificateWindow {
        id: Uuid::from_u128(id),
        fingerprint,
        not_before: at(from),
        not_after: at(until),
    };
    let certificates = Windows::from_vec(vec![window(1, VALID, 100, 200), window(2, ENDED, 0, 50)]);
    let token = Some(TokenHash::of(b"right"));
    let device = Device { status, site: None, token, certificates };
    RegistryAnswer { tenant_suspended: false, device: Some(device) }
}

fn delivery(payload: &'static str, publisher: Publisher) -> Delivery {
    Delivery {
        topic: Bytes::from_static(b"tenant/a/device/b/telemetry"),
        payload: Bytes::from_static(payload.as_bytes()),
        cut_from: None,
        received_at: at(150),
        held_since: at(150),
        dup: false,
        redelivered: false,
        maybe_repeated: false,
        ack: None,
        correlation: None,
        publisher,
        replay: None,
        arrival: None,
    }
}

fn parsed(payload: &'static str) -> Parsed {
    let limits = ParseLimits::from(&config(PublisherProof::Off, false, true));
    match limits.parse(&delivery(payload, Publisher::Missing)) {
        ParseOutcome::Parsed(parsed) => parsed,
        other => panic!("{other:?}"),
    }
}

fn proven(identity: &'static str, fingerprint: Option<ShortFingerprint>, second: i64) -> Publisher {
    let identity = Bytes::from_static(identity.as_bytes());
    Publisher::Proven(ProvenPublisher { identity, fingerprint, at: at(second) })
}

fn invalid() -> Publisher {
    Publisher::Invalid(ProofFault::Proof(ProofError::Mac))
}

/// What a message with this payload and publisher becomes at second 150.
fn verdict(
    requirements: &AuthRequirements,
    payload: &'static str,
    publisher: &Publisher,
) -> Result<Authentication, Reason> {
    let gateway = answer(DeviceStatus::Active);
    let sender = PublishedBy { publisher, gateway: Some(&gateway) };
    let found = answer(DeviceStatus::Active);
    let judged = requirements.judge(&parsed(payload), sender, &found, at(150));
    judged.map_err(|refusal| refusal.reason)
}

const RIGHT: &str = r#"{"provision_token":"right"}"#;
const WRONG: &str = r#"{"provision_token":"wrong"}"#;

#[test]
fn without_a_proof_each_mode_decides_in_its_own_way() {
    let token = Authentication::Token(TokenHash::of(b"right"));
    for publisher in [Publisher::Missing, invalid(), Publisher::Unread(Bytes::new())] {
        for mode in [PublisherProof::Off, PublisherProof::Prefer] {
            let by_token = requirements(mode, false, true);
            assert_eq!(verdict(&by_token, RIGHT, &publisher), Ok(token));
            assert_eq!(verdict(&by_token, WRONG, &publisher), Err(Reason::TokenInvalid));
            assert_eq!(verdict(&by_token, "{}", &publisher), Err(Reason::TokenMissing));
            let by_certificate = requirements(mode, true, false);
            assert_eq!(verdict(&by_certificate, "{}", &publisher), Ok(Authentication::Certificate));
            let nothing = requirements(mode, false, false);
            assert_eq!(verdict(&nothing, "{}", &publisher), Ok(Authentication::NotRequired));
        }
        for (certificates, token) in [(false, true), (true, true), (true, false), (false, false)] {
            let required = requirements(PublisherProof::Require, certificates, token);
            let refused = verdict(&required, RIGHT, &publisher);
            assert_eq!(refused, Err(Reason::PublisherUnproven), "{publisher:?}");
        }
    }
}

#[test]
fn a_proof_authenticates_its_own_device_and_those_of_a_gateway_only() {
    let certificate = |id| Ok(Authentication::Proof(Some(Uuid::from_u128(id))));
    let cases = [
        (proven("a/device/b", None, 150), Ok(Authentication::Proof(None))),
        (proven("a/device/b", Some(VALID), 150), certificate(1)),
        // Held by the broker since it was valid.
        (proven("a/device/b", Some(ENDED), 49), certificate(2)),
        (proven("a/device/b", Some(ENDED), 50), Err(Reason::DeviceRevoked)),
        (proven("a/device/b", Some(VALID), 99), Err(Reason::DeviceRevoked)),
        (proven("a/device/b", Some(UNKNOWN), 150), Err(Reason::DeviceRevoked)),
        (proven("a/device/c", Some(VALID), 150), Err(Reason::PublisherMismatch)),
        (proven("c/device/b", None, 150), Err(Reason::PublisherMismatch)),
        (proven("a/device/bb", None, 150), Err(Reason::PublisherMismatch)),
        (proven("", None, 150), Err(Reason::PublisherMismatch)),
        (proven(GATEWAY, Some(VALID), 150), certificate(1)),
        (proven(GATEWAY, Some(UNKNOWN), 150), Err(Reason::DeviceRevoked)),
        (proven(GATEWAY, None, 150), Ok(Authentication::Proof(None))),
        (proven(SERVICE, None, 150), Ok(Authentication::Proof(None))),
        (proven(SERVICE, Some(VALID), 150), Err(Reason::DeviceRevoked)),
    ];
    for mode in [PublisherProof::Prefer, PublisherProof::Require] {
        for (certificates, token) in [(false, true), (true, true), (true, false), (false, false)] {
            let requirements = requirements(mode, certificates, token);
            for (publisher, expected) in &cases {
                for payload in ["{}", WRONG] {
                    let found = verdict(&requirements, payload, publisher);
                    assert_eq!(found, *expected, "{mode:?} {publisher:?}");
                }
            }
        }
    }
    for (publisher, _) in &cases {
        let off = requirements(PublisherProof::Off, false, true);
        assert_eq!(
            verdict(&off, "{}", publisher),
            Err(Reason::TokenMissing),
            "proofs are not read"
        );
    }
}

#[test]
fn the_state_of_device_and_gateway_still_counts() {
    let required = requirements(PublisherProof::Require, false, true);
    let reason = |publisher: &Publisher, gateway: Option<&RegistryAnswer>, device| {
        let sender = PublishedBy { publisher, gateway };
        let judged = required.judge(&parsed("{}"), sender, &answer(device), at(150));
        judged.map_err(|refusal| refusal.reason)
    };
    let own = proven("a/device/b", Some(VALID), 150);
    for (status, expected) in [
        (DeviceStatus::Revoked, Reason::DeviceRevoked),
        (DeviceStatus::Inactive, Reason::DeviceInactive),
    ] {
        assert_eq!(reason(&own, None, status), Err(expected));
        let gateway = answer(status);
        let by_gateway = proven(GATEWAY, Some(VALID), 150);
        assert_eq!(reason(&by_gateway, Some(&gateway), DeviceStatus::Active), Err(expected));
    }
    let by_gateway = proven(GATEWAY, None, 150);
    let unknown = Err(Reason::UnregisteredDevice);
    assert_eq!(reason(&by_gateway, None, DeviceStatus::Active), unknown);
    let suspended = RegistryAnswer { tenant_suspended: true, ..answer(DeviceStatus::Active) };
    let found = reason(&by_gateway, Some(&suspended), DeviceStatus::Active);
    assert_eq!(found, Err(Reason::TenantSuspended));
}

#[test]
fn only_a_gateway_that_is_a_device_is_looked_up() {
    let required = requirements(PublisherProof::Require, false, true);
    let gateway = |publisher| required.gateway(&publisher, "a/device/b");
    let device = gateway(proven(GATEWAY, None, 0)).unwrap();
    assert_eq!(device.identity(), GATEWAY);
    assert_eq!(gateway(proven(SERVICE, None, 0)), None);
    assert_eq!(gateway(proven("a/device/b", None, 0)), None);
    assert_eq!(gateway(proven("a/device/c", None, 0)), None, "it is no gateway");
    assert_eq!(gateway(Publisher::Missing), None);
}

#[test]
fn without_ts_the_time_at_the_broker_counts() {
    let config = config(PublisherProof::Require, false, true);
    let limits = ParseLimits::from(&config);
    let (skew, age) = (config.max_clock_skew_seconds, config.max_age_days * 86_400);
    let time = |payload, second| {
        let delivery = delivery(payload, proven("a/device/b", None, second));
        match limits.date_by_proof(limits.parse(&delivery), &delivery) {
            ParseOutcome::Parsed(parsed) => Ok(parsed.time),
            ParseOutcome::Refused(refusal, _) => Err(refusal.reason),
            ParseOutcome::Ignored => panic!("it is telemetry"),
        }
    };
    assert_eq!(time("{}", 100), Ok(Some(at(100))));
    assert_eq!(time(r#"{"ts":"1970-01-01T00:01:00Z"}"#, 100), Ok(Some(at(60))));
    assert_eq!(time("{}", 150 + skew), Ok(Some(at(150 + skew))));
    assert_eq!(time("{}", 151 + skew), Ok(None), "the clock of the broker is wrong");
    assert_eq!(time("{}", 149 - age), Err(Reason::TimestampOutOfRange));
}
