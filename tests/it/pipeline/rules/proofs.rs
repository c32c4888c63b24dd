//! `PUBLISHER_PROOF`: a message is accepted as far as its proof goes. The test plays the broker's plugin:
//! it has the daemon's secret, and the broker has no plugin that would remove what it sends.

use sluice_shared::proof::{
    Boot, PUBLISHER_PROPERTY, Proof, ProofKey, ProvenMessage, ShortFingerprint,
};
use sluice_shared::time::Timestamp;

use crate::pipeline::fixture::{Pipeline, assert_same, sha256, sorted, to};
use crate::support::device::Message;
use crate::support::wait;

const SECRET: &str = "secret-of-the-proofs-in-this-test";
const PREVIOUS: &str = "the-secret-before-the-one-of-today";
const GATEWAY: &str = "acme/device/gateway";

fn settings(mode: &str) -> Vec<(&str, &str)> {
    vec![
        ("PUBLISHER_PROOF", mode),
        ("PUBLISHER_PROOF_SECRET", SECRET),
        ("PUBLISHER_PROOF_SECRET_PREVIOUS", PREVIOUS),
        ("PUBLISHER_GATEWAYS", GATEWAY),
    ]
}

/// A certificate whose fingerprint is the SHA-256 of its name.
fn certificate(device: &str, name: &str, status: &str, until: &str) -> String {
    format!(
        "INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, issuer, \
         status, not_before, not_after) VALUES (gen_random_uuid(), 'acme', '{device}', '{}', '{name}', 'acme/device/{device}', \
         'CN=test', '{status}', now() - interval '1 day', {until});",
        sha256(name)
    )
}

fn registry() -> String {
    let valid = "now() + interval '1 hour'";
    [
        "INSERT INTO tenants VALUES ('acme', 'Acme'); INSERT INTO devices (tenant_id, device_id) \
         SELECT 'acme', unnest(ARRAY['pump', 'valve', 'gateway']);"
            .to_owned(),
        certificate("pump", "current", "ACTIVE", valid),
        certificate("pump", "revoked", "REVOKED", valid),
        certificate("pump", "expired", "EXPIRED", "now() - interval '1 minute'"),
        certificate("gateway", "gateway", "ACTIVE", valid),
    ]
    .concat()
}

/// A plugin, as far as its stamps go.
struct Plugin {
    secret: &'static str,
    boot: u64,
    identity: &'static str,
    certificate: Option<&'static str>,
    at: Timestamp,
}

impl Plugin {
    fn of(identity: &'static str) -> Self {
        Self { secret: SECRET, boot: 1, identity, certificate: None, at: now() }
    }

    fn with(self, certificate: &'static str) -> Self {
        Self { certificate: Some(certificate), ..self }
    }

    fn earlier(self, seconds: i64) -> Self {
        Self { at: self.at.plus_seconds(-seconds), ..self }
    }

    fn proof(&self, message: &Message) -> String {
        let (topic, payload) = (&message.topic, &message.payload);
        let proven = ProvenMessage { identity: self.identity.as_bytes(), topic, payload };
        let fingerprint = self.certificate.map(|name| ShortFingerprint(half(&sha256(name))));
        let (boot, at) = (Boot(self.boot), self.at);
        let proof = Proof { boot, sequence: 1, at, fingerprint, is_will: false };
        let text =
            ProofKey::derive(self.secret.as_bytes(), boot).unwrap().sign(&proof, &proven).unwrap();
        String::from_utf8(text.as_bytes().to_vec()).unwrap()
    }

    /// The message as the plugin passes it on.
    fn stamp(&self, message: Message) -> Message {
        let proof = self.proof(&message);
        message.property(PUBLISHER_PROPERTY, &proof)
    }
}

fn now() -> Timestamp {
    sluice::clock::now()
}

fn half(hex: &str) -> [u8; 16] {
    let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    std::array::from_fn(|index| digits(2 * index))
}

/// One message of each kind; the last part of its topic says which.
fn messages() -> Vec<Message> {
    let of = |device: &str, kind: &str| to(&format!("acme/device/{device}/{kind}"), "{}");
    let pump = || Plugin::of("acme/device/pump");
    let mut forged = pump().stamp(of("pump", "forged-payload"));
    forged.payload = br#"{"metrics":{"a":1}}"#.as_slice().into();
    let elsewhere = Plugin { secret: "not-the-secret-of-this-daemon-here", ..pump() };
    let earlier_key = Plugin { secret: PREVIOUS, boot: 2, ..pump() };
    let moved = pump().proof(&of("pump", "another"));
    vec![
        of("pump", "none"),
        pump().stamp(of("pump", "by-token")),
        pump().with("current").stamp(of("pump", "by-certificate")),
        pump().with("expired").earlier(120).stamp(of("pump", "held-since-it-was-valid")),
        pump().with("expired").stamp(of("pump", "expired")),
        pump().with("revoked").stamp(of("pump", "revoked")),
        pump().with("gateway").stamp(of("pump", "certificate-of-another")),
        earlier_key.stamp(of("pump", "previous-secret")),
        elsewhere.stamp(of("pump", "forged-key")),
        forged,
        of("pump", "moved").property(PUBLISHER_PROPERTY, &moved),
        pump().stamp(of("pump", "twice").property(PUBLISHER_PROPERTY, "acme/device/valve AQ")),
        pump().stamp(of("pump", "spelled").property("Sluice-Publisher", "acme/device/valve")),
        pump().stamp(of("valve", "as-another")),
        Plugin::of(GATEWAY).with("gateway").stamp(of("valve", "by-gateway")),
        Plugin::of(GATEWAY).with("revoked").stamp(of("valve", "by-gateway-revoked")),
    ]
}

const OUTCOMES: &str = "SELECT msg_type, 'stored' FROM telemetry \
    UNION ALL SELECT msg_type, reason FROM quarantine_events ORDER BY 1";

const PROVEN: [(&str, &str); 10] = [
    ("by-token", "stored"),
    ("by-certificate", "stored"),
    ("held-since-it-was-valid", "stored"),
    ("expired", "DEVICE_REVOKED"),
    ("revoked", "DEVICE_REVOKED"),
    ("certificate-of-another", "DEVICE_REVOKED"),
    ("previous-secret", "stored"),
    ("as-another", "PUBLISHER_MISMATCH"),
    ("by-gateway", "stored"),
    ("by-gateway-revoked", "DEVICE_REVOKED"),
];

const UNPROVEN: [&str; 6] = ["none", "forged-key", "forged-payload", "moved", "twice", "spelled"];

/// The outcome of all messages, with one outcome for those without a valid proof.
fn expected(unproven: &str) -> Vec<(String, String)> {
    let unproven = UNPROVEN.map(|kind| (kind, unproven));
    sorted(PROVEN.into_iter().chain(unproven))
}

#[test]
fn with_require_only_a_valid_proof_is_accepted() {
    let mut pipeline = Pipeline::new(&settings("require"), &registry());
    pipeline.send(&messages());
    pipeline.settle();
    assert_same(&pipeline.pairs(OUTCOMES), &expected("PUBLISHER_UNPROVEN"));
    for (result, count) in [("valid", 10.0), ("missing", 1.0), ("invalid", 5.0)] {
        pipeline.daemon.wait_metric(&format!("sluice_proofs_total{{result=\"{result}\"}}"), count);
    }

    let by = "SELECT t.msg_type, c.serial_number FROM telemetry t JOIN device_certificates c ON c.id = t.certificate_id ORDER BY 1";
    let by_certificate = [
        ("by-certificate", "current"),
        ("by-gateway", "gateway"),
        ("held-since-it-was-valid", "expired"),
    ];
    assert_same(&pipeline.pairs(by), &sorted(by_certificate));
    let refused = pipeline.refused("msg_type = 'as-another'");
    assert_eq!(refused["publisher"], "acme/device/pump");
    assert!(refused["detail"].as_str().unwrap().contains("acme/device/pump"), "{refused}");
    let refused = pipeline.refused("msg_type = 'revoked'");
    assert_eq!(refused["publisher_certificate"], sha256("revoked")[..32]);
    assert!(pipeline.refused("msg_type = 'forged-key'")["publisher"].is_null());
    pipeline.assert_unharmed();
}

#[test]
fn with_prefer_a_message_without_a_valid_proof_is_decided_as_before() {
    let mut pipeline = Pipeline::new(&settings("prefer"), &registry());
    pipeline.send(&messages());
    pipeline.settle();
    assert_same(&pipeline.pairs(OUTCOMES), &expected("TOKEN_NOT_SET_IN_REGISTRY"));
}

#[test]
fn with_off_no_proof_is_read() {
    let mut settings = settings("off");
    settings.push(("REQUIRE_TOKEN", "0"));
    let mut pipeline = Pipeline::new(&settings, &registry());
    pipeline.send(&messages());
    pipeline.settle();
    let all = messages().len();
    assert_eq!(pipeline.ended("stored"), i64::try_from(all).unwrap());
    assert!(pipeline.daemon.metric("sluice_proofs_total") < 0.5, "{}", wait::log_tails());
}

#[test]
fn a_stamped_message_that_is_published_again_is_stored_once() {
    let mut pipeline = Pipeline::new(&settings("require"), &registry());
    let plugin = Plugin::of("acme/device/pump");
    let stamped = plugin.stamp(to("acme/device/pump/telemetry", r#"{"metrics":{"a":1}}"#));
    pipeline.send(std::slice::from_ref(&stamped));
    pipeline.settle();
    // Somebody who read it publishes it through a listener without the plugin.
    pipeline.send(&[stamped.clone(), stamped.clone().retained(), stamped]);
    pipeline.settle();
    assert_eq!((pipeline.ended("stored"), pipeline.ended("duplicate")), (1, 3));
    assert_eq!(pipeline.value("SELECT count(*) FROM telemetry"), "1");
    let time = "SELECT (extract(epoch FROM time) * 1000000)::bigint::text FROM telemetry";
    assert_eq!(pipeline.value(time), plugin.at.micros().to_string(), "the time at the broker");

    let old = Plugin::of("acme/device/pump").earlier(86_400 * 31);
    pipeline.send(&[old.stamp(to("acme/device/pump/old", "{}"))]);
    pipeline.settle();
    assert_eq!(pipeline.refused("msg_type = 'old'")["reason"], "TIMESTAMP_OUT_OF_RANGE");
}

#[test]
fn a_certificate_that_is_revoked_ends_what_it_publishes() {
    let mut pipeline = Pipeline::new(&settings("require"), &registry());
    let send = |pipeline: &mut Pipeline, kind: &str| {
        let plugin = Plugin::of("acme/device/pump").with("current");
        pipeline.send(&[plugin.stamp(to(&format!("acme/device/pump/{kind}"), "{}"))]);
        pipeline.settle();
    };
    send(&mut pipeline, "before");
    let invalidations = pipeline.daemon.metric("sluice_auth_invalidations_total");
    pipeline.database.query(
        "UPDATE device_certificates SET status = 'REVOKED', revoked_at = now() WHERE serial_number = 'current'",
    );
    pipeline.daemon.wait_metric("sluice_auth_invalidations_total", invalidations + 1.0);
    send(&mut pipeline, "after");
    let expected = sorted([("before", "stored"), ("after", "DEVICE_REVOKED")]);
    assert_same(&pipeline.pairs(OUTCOMES), &expected);
}
