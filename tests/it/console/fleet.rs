//! A fleet as the demo has it, for tests that look at it in a browser: the broker of `compose/`, a
//! daemon with its authority and its access rules, devices that are silent, revoked and unknown,
//! certificates that end next month, refused messages of several reasons, and a twin that differs.
//!
//! All tests share it. A test that changes something has devices of its own here.

use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::api::client::TOKEN;
use crate::compose::stack::{Stack, repository};
use crate::revocation::revocation_stack::RevocationStack;
use crate::support::daemon::{Daemon, Settings};
use crate::support::database::Database;
use crate::support::port;
use crate::support::wait;

/// What a device chooses, if it means ill.
pub const HOSTILE: &str = "\"><img src=x onerror=alert(1)>{{7*7}}\u{202e}";

/// Device `n` of `unknown-1` to `unknown-3` belongs to the test of this number.
const FILL: &str = "
    INSERT INTO tenants VALUES ('zeta', 'Zeta') ON CONFLICT DO NOTHING;
    INSERT INTO devices (tenant_id, device_id, site_id, status, metadata)
        SELECT 'acme', 'climate-' || n, CASE WHEN n % 3 = 0 THEN 'north' END, 'ACTIVE', '{\"model\": \"C2\"}'
        FROM generate_series(0, 69) n;
    INSERT INTO devices (tenant_id, device_id, site_id, status) VALUES ('acme', 'moved-away', 'north', 'ACTIVE');
    INSERT INTO devices (tenant_id, device_id, status) VALUES ('acme', 'stolen', 'REVOKED'), ('acme', 'spare', 'INACTIVE'),
        ('acme', 'two-editors', 'ACTIVE'), ('zeta', 'meter-1', 'ACTIVE');
    INSERT INTO device_state (tenant_id, device_id, last_seen_at, last_telemetry_at)
        SELECT tenant_id, device_id, now(), now() FROM devices WHERE device_id LIKE 'climate-%';
    UPDATE device_state SET last_seen_at = now() - interval '2 h' WHERE device_id IN ('climate-3', 'climate-4');
    UPDATE device_state SET desired = '{\"interval\": 60}', desired_version = 8, desired_at = now(),
        reported = '{\"interval\": 30}', reported_version = 7, reported_at = now() WHERE device_id = 'climate-7';
    INSERT INTO telemetry (time, tenant_id, device_id, msg_type, metrics, message_id, received_at)
        SELECT now() - n * interval '1 minute', 'acme', 'climate-7', 'telemetry', jsonb_build_object('temp_c', 20 + n % 5),
            gen_random_uuid(), now()
        FROM generate_series(1, 50) n;
    INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, issuer, not_before,
            not_after)
        SELECT ('00000000-0000-4000-8000-00000000010' || n)::uuid, 'acme', 'climate-' || n, encode(sha256(n::text::bytea), 'hex'), to_hex(4096 + n),
            'acme/device/climate-' || n, 'CN=Test', now() - interval '60 d', now() + n * interval '6 d'
        FROM generate_series(1, 9) n;
    INSERT INTO quarantine_events (id, quarantined_at, received_at, event_ts, topic, tenant_id, device_id, msg_type, reason, detail,
            payload, message_id)
        SELECT gen_random_uuid(), now() - n * interval '20 s', now() - n * interval '20 s', now() - n * interval '20 s',
            'tenant/acme/device/' || d || '/telemetry', 'acme', d, 'telemetry', r, t,
            convert_to(json_strip_nulls(json_build_object('ts', to_char((now() - n * interval '20 s') AT TIME ZONE 'UTC',
                'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), 'site_id', CASE d WHEN 'moved-away' THEN 'elsewhere' END, 'metrics', json_build_object('temp_c', 20 + n)))::text, 'UTF8'), gen_random_uuid()
        FROM (VALUES ('unknown-1', 'UNREGISTERED_DEVICE', 'the registry has no such device', 40),
            ('unknown-2', 'UNREGISTERED_DEVICE', 'the registry has no such device', 5),
            ('unknown-3', 'UNREGISTERED_DEVICE', 'the registry has no such device', 5),
            ('stolen', 'DEVICE_REVOKED', 'the status of the device is REVOKED', 3),
            ('moved-away', 'SITE_MISMATCH_REGISTRY_VS_PAYLOAD', 'the payload names another site', 4)) v (d, r, t, count), generate_series(1, count) n;
    INSERT INTO quarantine_counters_minute
        SELECT date_trunc('minute', now()) - n * interval '1 minute', 'acme', r, c
        FROM (VALUES ('UNREGISTERED_DEVICE', 120), ('DEVICE_REVOKED', 3), ('SITE_MISMATCH_REGISTRY_VS_PAYLOAD', 1)) v (r, c), generate_series(1, 30) n;";

/// What a malicious device and a careless operator leave behind. Names of devices cannot hold such
/// text: the registry refuses them.
const HOSTILE_FILL: &str = "
    INSERT INTO devices (tenant_id, device_id, site_id, metadata) VALUES ('acme', 'evil', '$EVIL',
        jsonb_build_object('$EVIL', repeat('<', 60000)));
    INSERT INTO device_state (tenant_id, device_id, desired, desired_version, reported, reported_version) VALUES ('acme', 'evil',
        jsonb_build_object('$EVIL', '$EVIL'), 1, jsonb_build_object('$EVIL', 1), 1);
    INSERT INTO audit_log (actor, action, tenant_id, device_id, detail)
        VALUES ('cli:$EVIL', 'device.set', 'acme', '$EVIL', jsonb_build_object('$EVIL', '$EVIL'));
    INSERT INTO quarantine_events (id, quarantined_at, received_at, topic, tenant_id, device_id, site_id, reason, detail, payload,
            message_id)
        SELECT ('00000000-0000-4000-8000-00000000000' || n)::uuid, now() - interval '3 h', now(), '$EVIL', 'acme', '$EVIL', '$EVIL',
            'BAD_PAYLOAD', '$EVIL', payload, gen_random_uuid()
        FROM (VALUES (1, convert_to(repeat('<', 65536), 'UTF8')), (2, '\\xff00fe41'::bytea),
            (3, convert_to('$EVIL', 'UTF8'))) v (n, payload);
    INSERT INTO quarantine_counters_minute VALUES (date_trunc('minute', now()) - interval '3 h', '$EVIL', 'BAD_PAYLOAD', 3)";

/// The fleet. Its servers end with the test process.
pub struct Fleet {
    pub revocation: RevocationStack,
    pub settings: Settings,
    #[expect(dead_code, reason = "it ends with the fleet")]
    daemon: Daemon,
    pub port: u16,
}

// === impl Fleet ===

impl Fleet {
    /// The one that all tests share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Fleet> = OnceLock::new();
        let fleet = SHARED.get_or_init(Self::start);
        wait::show_on_failure("sluice", &fleet.settings.dir().path().join("log"));
        fleet
    }

    pub fn database(&self) -> &Database<'static> {
        &self.revocation.database
    }

    /// A link that signs in once.
    pub fn link(&self, role: &str) -> String {
        link(&self.settings, role)
    }

    fn start() -> Self {
        let revocation = RevocationStack::around(Stack::start());
        let policy = repository("compose/mosquitto/policy.example.toml");
        let settings = revocation
            .settings("sluice")
            .set("ADMIN_TOKEN", TOKEN)
            .set("REQUIRE_TOKEN", "0")
            .set("CERT_AUTH_ENABLED", "0")
            .set("ACL_RULES_PATH", policy.to_str().unwrap())
            .set("HTTP_BIND", &format!("127.0.0.1:{}", port::free()));
        revocation.database.query(FILL);
        revocation.database.query(&HOSTILE_FILL.replace("$EVIL", HOSTILE));
        settings.run(&["device", "add", "acme", "pump-9"]);
        let daemon = settings.start();
        daemon.wait_ready();
        let port = settings.port("HTTP_BIND");
        Self { revocation, settings, daemon, port }
    }
}

/// The link that `sluice console` prints.
pub fn link(settings: &Settings, role: &str) -> String {
    let mut command: Command = settings.command(&["console", "--role", role, "--output", "json"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let value: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    value["url"].as_str().unwrap().to_owned()
}
