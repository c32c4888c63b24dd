//! A daemon whose clock is wrong changes no access: its lists are valid by
//! Postgres' clock, too.

use super::revocation_stack::RevocationStack;
use crate::compose::stack::Stack;
use crate::support::time_bounds::REVOCATION_AFTER_REPAIR;
use crate::support::wait;

const ENFORCED: &str = "sluice_crl_enforced";
const PUBLISHED: &str = "a CRL was published";

/// How far the end of the last list is from now, in days.
fn days_to_end(revocation: &RevocationStack) -> i64 {
    let days =
        "SELECT round(extract(epoch FROM next_update - now()) / 86400)::bigint FROM crl_state";
    revocation.database.value(days).parse().unwrap()
}

#[test]
fn a_wrong_clock_publishes_no_crl_that_locks_the_fleet_out() {
    let revocation = RevocationStack::around(Stack::start());
    revocation.stack.enroll("pump-3");
    let right = revocation.settings("sluice");
    let daemon = right.start();
    daemon.wait_ready();
    daemon.wait_metric(ENFORCED, 1.0);
    daemon.kill9();
    for (moved, device, ends) in [("+40d", "pump-1", 47), ("-40d", "pump-2", 7)] {
        let wrong = revocation.settings("sluice").with_clock(moved).start();
        wait::until("it has published", || wrong.log().contains(PUBLISHED));
        wrong.wait_unready_for("the clock of this machine");
        assert!(revocation.stack.lets_in("pump-3"), "{moved}: a valid device is locked out");
        revocation.revoke(device);
        wait::until("the revoked device is refused", || !revocation.stack.lets_in(device));
        assert!(revocation.stack.lets_in("pump-3"), "{moved}");
        assert_eq!(days_to_end(&revocation), ends, "{moved}");
        assert!(wrong.log().matches(PUBLISHED).count() < 4, "no list after list");
        wrong.kill9();
    }
    let daemon = right.start();
    daemon.wait_ready();
    daemon.wait_metric(ENFORCED, 1.0);
    revocation.wait_proven("pump-1", REVOCATION_AFTER_REPAIR);
    revocation.wait_proven("pump-2", REVOCATION_AFTER_REPAIR);
    assert_eq!(days_to_end(&revocation), 7);
    assert!(
        !revocation.stack.lets_in("pump-1")
            && !revocation.stack.lets_in("pump-2")
            && revocation.stack.lets_in("pump-3")
    );
}
