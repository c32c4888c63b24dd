//! Commands that a device requests: it takes as many as its response holds, and no other is changed.

use std::time::Duration;

use sluice::store::downlink::command_changes::{self, TakeRoom};

use super::{device, harness};

const TTL: Duration = Duration::from_hours(1);

#[tokio::test]
async fn a_device_takes_what_fits_and_a_command_that_never_does_holds_up_no_other() {
    let harness = harness().await;
    harness.database.query(
        "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'A');
         INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'd0');
         INSERT INTO device_commands (tenant_id, device_id, command_id, command_type, params)
         SELECT 'acme', 'd0', gen_random_uuid(), 'n' || n, jsonb_build_object('text', repeat('x', size))
         FROM (VALUES (1, 9000), (2, 500), (3, 500), (4, 10)) AS c (n, size) ORDER BY n",
    );
    let take = async |commands| {
        let room = TakeRoom { commands, bytes: 1000, bytes_each: 100 };
        let key = device("d0");
        let taken = command_changes::take_open(harness.store.pool(), &key, room, TTL);
        let taken = taken.await.unwrap();
        taken.into_iter().map(|row| row.command_type).collect::<Vec<_>>()
    };
    let states = "SELECT command_type, status, attempts FROM device_commands ORDER BY position";
    assert_eq!(take(8).await, ["n2"], "the next one does not fit beside it");
    assert_eq!(
        harness.database.query(states),
        [
            ["n1", "PENDING", "0"],
            ["n2", "PUBLISHED", "1"],
            ["n3", "PENDING", "0"],
            ["n4", "PENDING", "0"],
        ]
    );
    harness
        .database
        .query("UPDATE device_commands SET status = 'ACKNOWLEDGED' WHERE command_type = 'n2'");
    assert_eq!(take(8).await, ["n3", "n4"]);
    assert_eq!(take(1).await, ["n3"]);
    let untouched = "SELECT status, attempts FROM device_commands WHERE command_type = 'n1'";
    assert_eq!(harness.database.query(untouched), [["PENDING", "0"]]);
}
