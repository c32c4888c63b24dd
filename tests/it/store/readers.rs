//! `sluice_reader`: one tenant's view, and no hash of a token.

use sluice::domain::ports::Sink;

use super::{good, harness};

#[tokio::test]
async fn a_reader_sees_one_tenant_and_no_other() {
    let harness = harness().await;
    harness.store.sink().commit(&mut good(2)).await.unwrap();
    harness.database.query(
        "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'A'), ('other', 'O');
         INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'd0'), ('other', 'd0');
         INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, issuer,
             not_before, not_after)
         SELECT gen_random_uuid(), tenant_id, 'd0', encode(sha256(tenant_id::bytea), 'hex'), tenant_id, 'cn', 'ca',
             now(), now() + interval '1 day' FROM tenants;
         INSERT INTO telemetry SELECT time, received_at, 'other', device_id, site_id, msg_type, seq, metrics, extra, message_id
             FROM telemetry LIMIT 1;
         INSERT INTO quarantine_events (id, received_at, topic, tenant_id, reason, detail, payload, message_id)
         SELECT gen_random_uuid(), now(), 't', tenant_id, 'BAD_PAYLOAD', '', '', gen_random_uuid() FROM tenants;
         INSERT INTO quarantine_counters_minute SELECT now(), tenant_id, 'BAD_PAYLOAD', 1 FROM tenants
             UNION ALL SELECT now(), '', 'BAD_TOPIC_FORMAT', 1;
         INSERT INTO device_state (tenant_id, device_id) SELECT tenant_id, 'd0' FROM tenants;
         INSERT INTO device_commands (command_id, tenant_id, device_id, command_type)
         SELECT gen_random_uuid(), tenant_id, 'd0', 'reboot' FROM tenants;
         INSERT INTO link_outbox (link, lane, tenant_id, device_id, msg_type, topic, mode, payload, time, received_at, message_id)
         SELECT 'azure', 0, tenant_id, 'd0', 'telemetry', 'up', 'raw', '', now(), now(), gen_random_uuid() FROM tenants;
         INSERT INTO link_refused (link, id, lane, tenant_id, device_id, msg_type, topic, mode, payload, time, received_at,
             message_id, queued_at, reason, detail)
         SELECT link, id, lane, tenant_id, device_id, msg_type, topic, mode, payload, time, received_at, message_id, queued_at,
             'REFUSED', '' FROM link_outbox;
         INSERT INTO audit_log (actor, action, tenant_id) SELECT 'me', 'look', tenant_id FROM tenants;",
    );
    for table in [
        "telemetry",
        "telemetry_mine",
        "quarantine_events",
        "quarantine_counters_minute",
        "device_state",
        "device_commands",
        "device_shadows",
        "devices",
        "tenants",
        "device_certificates",
        "link_outbox",
        "link_refused",
        "audit_log",
    ] {
        let sql = |tenant: &str| {
            format!("SET ROLE sluice_reader; {tenant} SELECT DISTINCT tenant_id FROM {table}")
        };
        assert!(harness.database.query(&sql("")).is_empty(), "{table} without a tenant");
        assert!(
            harness.database.query(&sql("SET app.tenant_id = '';")).is_empty(),
            "{table} with an empty tenant"
        );
        assert_eq!(
            harness.database.query(&sql("SET app.tenant_id = 'acme';")),
            [["acme"]],
            "{table}"
        );
        assert_ne!(
            harness.database.value(&format!("SELECT count(DISTINCT tenant_id) FROM {table}")),
            "1",
            "{table}"
        );
    }
}

#[tokio::test]
async fn a_reader_cannot_go_round_the_policies_or_see_a_hash_or_write() {
    let harness = harness().await;
    for forbidden in [
        "SELECT * FROM telemetry_late",
        "SELECT * FROM quarantine_events_late",
        "SELECT provision_token_hash FROM devices",
        "SELECT * FROM devices",
        "SELECT token_sha256 FROM quarantine_events",
        "SELECT * FROM _sqlx_migrations",
        "SELECT * FROM broker_sessions",
        "DELETE FROM telemetry",
        "INSERT INTO audit_log (actor, action) VALUES ('x', 'y')",
    ] {
        let error = harness
            .database
            .try_query(&format!("SET ROLE sluice_reader; SET app.tenant_id = 'acme'; {forbidden}"));
        let error = error.expect_err(forbidden).to_string();
        assert!(error.contains("permission denied"), "{forbidden}: {error}");
    }
}
