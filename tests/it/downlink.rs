//! What Sluice publishes to devices: commands, documents, errors; and who publishes it.

mod commands;
mod documents;
mod errors;
mod outbox_faults;
mod receiver;

use crate::support::database::Database;
use crate::support::mosquitto::Mosquitto;
use crate::support::test_daemon::{TestDaemon, TestDaemonBuilder};

const REGISTRY: &str = "INSERT INTO tenants (tenant_id) VALUES ('acme');
    INSERT INTO devices (tenant_id, device_id, status) VALUES ('acme', 'p1', 'ACTIVE'), ('acme', 'off', 'INACTIVE')";

/// A daemon with a broker and the registry, that trusts the topic.
fn daemon(settings: &[(&str, &str)]) -> TestDaemonBuilder<Mosquitto, Database<'static>> {
    TestDaemon::builder().broker().registry(REGISTRY).set("REQUIRE_TOKEN", "0").with(settings)
}

/// Queues commands `c<number>` of a device, in one transaction, by plain SQL.
fn queue(database: &Database<'_>, device: &str, numbers: std::ops::RangeInclusive<u32>) {
    let (first, last) = (numbers.start(), numbers.end());
    database.query(&format!(
        "INSERT INTO device_commands (command_id, tenant_id, device_id, command_type, params)
         SELECT gen_random_uuid(), 'acme', '{device}', 'c' || n, jsonb_build_object('n', n)
         FROM generate_series({first}, {last}) AS n"
    ));
}
