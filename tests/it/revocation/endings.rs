//! The live sessions of revoked devices are ended each for itself: one that cannot be ended holds
//! no other up, nor do thousands of others.

use super::revocation_stack::RevocationStack;
use crate::compose::stack::Stack;
use crate::support::time_bounds::{REVOCATION, REVOCATION_BEHIND_MANY};
use crate::support::wait;

/// The broker refuses a client id that holds a control character, and takes a common name that
/// does.
const UNENDABLE: &str = "E'acme\\x01pump'";

/// Adds certificates that are revoked at once; their names begin with this.
fn revoke_many(revocation: &RevocationStack, count: u32, name: &str) {
    let issuer = revocation.database.value("SELECT issuer FROM device_certificates LIMIT 1");
    revocation.database.query(&format!(
        "INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, issuer, \
             not_before, not_after) \
         SELECT gen_random_uuid(), 'acme', 'pump-1', lpad(to_hex(number), 64, '0'), '7f' || lpad(to_hex(number), 30, '0'), \
             {name} || number, '{issuer}', now() - interval '1 day', now() + interval '1 day' \
         FROM generate_series(1, {count}) AS number; \
         UPDATE device_certificates SET status = 'REVOKED', revoked_at = now() WHERE starts_with(common_name, {name})"
    ));
}

#[test]
fn a_session_that_cannot_be_ended_is_named_and_holds_no_other_up() {
    let revocation = RevocationStack::around(Stack::start());
    let daemon = revocation.settings("sluice").start();
    daemon.wait_ready();
    daemon.wait_metric("sluice_crl_enforced", 1.0);
    let session = revocation.stack.over_tls("mosquitto_sub", Some("pump-1"), &["-t", "x"]);
    let _doomed = revocation.stack.listening(&session, "doomed");

    revoke_many(&revocation, 12, UNENDABLE);
    daemon.wait_metric("sluice_sessions_not_ended", 12.0);
    let why = daemon.wait_unready_for("was not ended");
    assert!(why.contains("acme\\\\u{1}pump1") && why.contains("11 more were not ended"), "{why}");
    revocation.revoke("pump-1");
    revocation.wait_proven("pump-1", REVOCATION);
    assert_eq!(revocation.takeovers("pump-1"), 1, "its live session was ended");

    let stuck = "SELECT count(*) FROM certificate_revocations WHERE failed_link = 'ended' AND proven_at IS NULL \
        AND reloaded_at IS NOT NULL AND failure LIKE 'the live session was not ended%'";
    revocation.database.wait_until(stuck, "12");
    assert_eq!(
        daemon.log().matches("session of a revoked device was not ended").count(),
        1,
        "named once"
    );
    // It is not in the way of a broker that can be seen to enforce the list.
    assert!(daemon.metric("sluice_crl_enforced") > 0.0);
    // As if they had ended by themselves.
    revocation.database.query("DELETE FROM certificate_revocations WHERE failed_link = 'ended'");
    daemon.wait_ready();
    wait::until("none is left", || daemon.metric("sluice_sessions_not_ended") < 1.0);
}

#[test]
fn thousands_of_revocations_do_not_hold_back_a_single_later_one() {
    let revocation = RevocationStack::around(Stack::start());
    let daemon = revocation.settings("sluice").start();
    daemon.wait_ready();
    daemon.wait_metric("sluice_crl_enforced", 1.0);
    revoke_many(&revocation, 3000, "'acme/device/many-'");
    wait::until("the first of them are ended", || {
        revocation
            .database
            .value("SELECT count(*) > 0 FROM certificate_revocations WHERE ended_at IS NOT NULL")
            == "t"
    });
    revocation.revoke("pump-2");
    revocation.wait_proven("pump-2", REVOCATION_BEHIND_MANY);
    let seconds = "SELECT 'single ' || max(extract(epoch FROM proven_at - noticed_at)) FILTER (WHERE device_id = 'pump-2') \
        FROM certificate_revocations JOIN device_certificates ON id = certificate_id";
    println!("{}", revocation.database.value(seconds));
    revocation.database.wait_until(
        "SELECT count(*) FROM certificate_revocations WHERE proven_at IS NOT NULL",
        "3001",
    );
    let all = "SELECT 'all ' || max(extract(epoch FROM proven_at - noticed_at)) FROM certificate_revocations";
    println!("{}", revocation.database.value(all));
}
