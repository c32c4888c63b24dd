//! `sluice_reader`: one tenant's view, and no hash of a token.

use sluice::domain::finding::Severity;
use sluice::domain::ports::Sink;
use sluice::store::connection::engine::TelemetryLayout;
use sluice::store::schema::{inspect_schema, open_readers};

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

#[tokio::test]
async fn a_role_that_reads_telemetry_past_the_policies_is_named() {
    let harness = harness().await;
    let (store, database) = (&harness.store, &harness.database);
    let open_to = async |layout| {
        let readers = open_readers::read(store.pool(), layout).await.unwrap();
        readers.into_iter().map(|reader| (reader.name, reader.is_dashboard)).collect::<Vec<_>>()
    };
    let named = |names: &[(&str, bool)]| {
        names.iter().map(|(name, is)| ((*name).to_owned(), *is)).collect::<Vec<_>>()
    };
    database.query(
        "CREATE ROLE open_backup; CREATE ROLE open_group; CREATE ROLE open_dashboard IN ROLE sluice_reader; \
         CREATE ROLE open_member IN ROLE sluice_reader, open_group",
    );
    database.query("GRANT SELECT ON telemetry TO open_backup, open_dashboard");
    let closed = open_to(TelemetryLayout::Partitioned).await;
    assert_eq!(closed, named(&[]), "the policies of the table hold");
    let copied = open_to(TelemetryLayout::Hypertable).await;
    assert_eq!(copied, named(&[("open_backup", false), ("open_dashboard", true)]));
    database.query("REVOKE SELECT ON telemetry FROM open_backup, open_dashboard");
    assert_eq!(open_to(TelemetryLayout::Hypertable).await, named(&[]));
    let found = async || inspect_schema::readers(store).await.unwrap();
    assert!(found().await.iter().all(|finding| finding.level == Severity::Ok));

    database.query(
        "GRANT SELECT ON telemetry_late TO open_group; GRANT SELECT (metrics) ON telemetry_late TO open_dashboard",
    );
    let on_a_partition = open_to(TelemetryLayout::Partitioned).await;
    let expected = [("open_dashboard", true), ("open_group", false), ("open_member", true)];
    assert_eq!(on_a_partition, named(&expected));
    let found = found().await;
    let said: Vec<_> = found.iter().map(|finding| (finding.level, finding.what.as_str())).collect();
    assert_eq!(
        (said.len(), said[0].0, said[1].0),
        (2, Severity::Error, Severity::Warning),
        "{said:?}"
    );
    assert!(said[0].1.ends_with("open_dashboard, open_member"), "{said:?}");
    assert!(said[1].1.ends_with("open_group"), "{said:?}");
    database.query("REVOKE SELECT ON telemetry_late FROM open_group, open_dashboard");

    database.query(
        "REVOKE ALL ON telemetry FROM sluice_reader; ALTER TABLE telemetry DISABLE ROW LEVEL SECURITY; \
         GRANT SELECT ON telemetry TO open_group",
    );
    let without_policies = open_to(TelemetryLayout::Columnstore).await;
    assert_eq!(without_policies, named(&[("open_group", false), ("open_member", true)]));
}
