//! The API in trouble: Postgres away or stuck, too many at once.

use std::thread;

use serde_json::json;

use super::client::{self, Client, TOKEN};
use super::with_authority::{ApiWithAuthority, id};
use crate::support::postgres::Postgres;
use crate::support::wait;

/// As many requests are at work at a time.
const AT_WORK: usize = 4;

/// Reads that need Postgres, one of each family.
const READS: [&str; 7] = [
    "/tenants",
    "/devices",
    "/certificates",
    "/certificates/01890a5d-ac96-774b-bcce-b302099a8057",
    "/certificates/01890a5d-ac96-774b-bcce-b302099a8057/revocation",
    "/tenants/acme/telemetry/latest",
    "/quarantine",
];

#[test]
fn while_postgres_is_away_every_answer_says_so_and_afterwards_none_does() {
    let postgres = Postgres::private();
    let database = postgres.database();
    let started = client::builder().on_database(&database).start();
    let client = Client::of(started.listening("HTTP_BIND"), Some(TOKEN));
    client.post("/tenants", &json!({ "tenant_id": "acme" })).ok(201);
    postgres.stop();
    thread::scope(|scope| {
        for path in READS {
            scope.spawn(move || {
                let answer = client.get(path);
                let detail = answer.detail(503, "unavailable");
                assert!(answer.head.contains("retry-after: "), "{path}: {}", answer.head);
                assert!(
                    detail.contains("Postgres") || detail.contains("database"),
                    "{path}: {detail}"
                );
            });
        }
        let revoke = "/certificates/01890a5d-ac96-774b-bcce-b302099a8057/revoke?wait=20";
        scope.spawn(move || client.post(revoke, &json!({})).problem(503, "unavailable"));
        scope.spawn(move || {
            client.post("/tenants", &json!({ "tenant_id": "zeta" })).problem(503, "unavailable")
        });
    });
    // What needs no Postgres is answered.
    client.get("/openapi.json").ok(200);
    postgres.start();
    wait::until("it answers again", || client.get("/tenants").status == 200);
    assert_eq!(client.get("/tenants").ok(200)["items"].as_array().unwrap().len(), 1);
}

#[test]
fn when_postgres_stops_during_the_wait_the_answer_says_that_the_row_is_kept() {
    let postgres = Postgres::private();
    let database = postgres.database();
    let started = client::builder().on_database(&database).start();
    let client = Client::of(started.listening("HTTP_BIND"), Some(TOKEN));
    client.get("/tenants").ok(200);
    database.query(
        "INSERT INTO tenants VALUES ('acme', 'Acme'); INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'pump-1');
         INSERT INTO device_certificates
             (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, issuer, not_before, not_after)
         VALUES ('01890a5d-ac96-774b-bcce-b302099a8057', 'acme', 'pump-1', repeat('ab', 32), '01', 'x', 'ca', now(),
             now() + interval '1 day')",
    );
    let revoke = "/certificates/01890a5d-ac96-774b-bcce-b302099a8057/revoke?wait=20";
    thread::scope(|scope| {
        let answer = scope.spawn(move || client.post(revoke, &json!({})));
        database.wait_until("SELECT status FROM device_certificates", "REVOKED");
        postgres.stop();
        let detail = answer.join().unwrap().detail(503, "unavailable");
        assert!(detail.contains("the certificate is revoked, but"), "{detail}");
    });
}

#[test]
fn requests_run_four_at_a_time_and_one_that_waits_too_long_gets_503() {
    let postgres = Postgres::private();
    let database = postgres.database();
    let started = client::builder().on_database(&database).start();
    let client = Client::of(started.listening("HTTP_BIND"), Some(TOKEN));
    client.get("/tenants").ok(200);
    // A request that reads the tenants is stuck until Postgres gives up on the lock, and then the next
    // ones are.
    let stuck = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%FROM tenants%'";
    let lock =
        "BEGIN; LOCK TABLE tenants; SELECT count(*) FROM pg_stat_activity, pg_sleep(40); COMMIT";
    let url = database.url();
    thread::scope(|scope| {
        let holder = scope.spawn(|| drop(crate::support::database::query_at(&url, lock)));
        database.wait_until(
            "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND \
            relation = 'tenants'::regclass",
            "1",
        );
        let asked: Vec<_> =
            (0..3 * AT_WORK).map(|_| scope.spawn(move || client.get("/tenants"))).collect();
        database.wait_until(stuck, "4");
        let mut most = 0;
        wait::until("all are answered", || {
            most = most.max(database.value(stuck).parse().unwrap());
            asked.iter().all(thread::ScopedJoinHandle::is_finished)
        });
        assert_eq!(most, AT_WORK);
        let answers: Vec<_> = asked.into_iter().map(|one| one.join().unwrap()).collect();
        let count = |status| answers.iter().filter(|answer| answer.status == status).count();
        assert_eq!((count(503), count(504)), (2 * AT_WORK, AT_WORK));
        for answer in answers.iter().filter(|answer| answer.status == 504) {
            assert!(answer.detail(504, "timed-out").contains("within 25 s"));
        }
        database.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%LOCK TABLE%' AND pid <> pg_backend_pid()");
        holder.join().unwrap();
    });
    client.get("/tenants").ok(200);
}

#[test]
fn requests_that_wait_for_a_revocation_keep_nobody_else_waiting() {
    // No daemon publishes a CRL here, so every wait runs to its end.
    let api = ApiWithAuthority::with(&[("CRL_OUTPUT_PATH", "")]);
    let certificates: Vec<_> =
        (0..2 * AT_WORK).map(|number| api.issued(&format!("dev-{number}"))).collect();
    let client: Client = *api;
    thread::scope(|scope| {
        let revoke = |certificate| {
            client.post(&format!("/certificates/{}/revoke?wait=10", id(certificate)), &json!({}))
        };
        let waiting: Vec<_> = certificates
            .iter()
            .map(|certificate| scope.spawn(move || revoke(certificate)))
            .collect();
        let revoked = "SELECT count(*) FROM device_certificates WHERE status = 'REVOKED'";
        api.ca.database.wait_until(revoked, &(2 * AT_WORK).to_string());
        client.get("/tenants").ok(200);
        assert!(!waiting.iter().any(thread::ScopedJoinHandle::is_finished), "they wait still");
        for one in waiting {
            let problem = one.join().unwrap().problem(504, "not-proven");
            assert_eq!(problem["revocation"]["missing"], "published");
            let detail = problem["detail"].as_str().unwrap();
            assert!(
                detail.contains("`published`") && detail.contains("CRL_OUTPUT_PATH"),
                "{detail}"
            );
        }
    });
}
