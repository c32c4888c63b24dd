//! Who guesses codes, holds connections or arrives while Postgres is away.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::est_daemon::{EstDaemon, curl};
use crate::certificates::ca_fixture::CaFixture;
use crate::support::proxy::{Direction, Proxy};
use crate::support::wait;

/// Wrong codes that one address may send at once, and what a second or two add.
const WRONG_AT_ONCE: f64 = 60.0;

#[test]
fn a_thousand_wrong_codes_are_bounded_and_lock_out_no_other_address() {
    let est = EstDaemon::start();
    est.ca.request("pump-3", "/");
    let code = est.code(&["--device", "pump-3"]);
    let url = format!("{}?[1-1000]", est.url("/simpleenroll"));
    let output = curl(est.ca.openssl.dir.path())
        .args([
            "--cacert",
            "est.crt",
            "--max-time",
            "50",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}\n",
        ])
        .args(["-u", "acme/device/pump-3:wrong", "-H", "Content-Type: application/pkcs10"])
        .args(["--data-binary", "@pump-3.csr", "--parallel", "--parallel-max", "20", &url])
        .output()
        .unwrap();
    let statuses = String::from_utf8(output.stdout).unwrap();
    let count = |status: &str| statuses.lines().filter(|line| *line == status).count();
    assert_eq!(count("401") + count("429"), 1000, "{statuses}");
    let wrong =
        est.daemon.metric("sluice_est_requests_total{route=\"simpleenroll\",status=\"401\"}");
    assert!((30.0..WRONG_AT_ONCE).contains(&wrong), "{wrong} codes were compared");

    let limited = est.enrol("pump-3", "wrong", "pump-3.csr");
    if limited.status == 429 {
        assert!(limited.headers.contains("retry-after: "), "{limited:?}");
    }
    let login = format!("acme/device/pump-3:{code}");
    let elsewhere = est.post(
        "/simpleenroll",
        "pump-3.csr",
        &["-u", &login, "--interface", "127.0.0.2", "--connect-to", "localhost::127.0.0.1:"],
    );
    assert_eq!(elsewhere.status, 200, "{elsewhere:?}");
    // The address itself is served again after a while.
    wait::until("the address may try again", || {
        est.enrol("pump-3", &code, "pump-3.csr").status == 200
    });
}

#[test]
fn devices_of_one_address_that_start_together_are_not_taken_for_guesses() {
    let est = EstDaemon::start();
    est.ca.request("pump-3", "/");
    let login = format!("acme/device/pump-3:{}", est.code(&["--device", "pump-3"]));
    let url = format!("{}?[1-60]", est.url("/simpleenroll"));
    let database = &est.ca.database;
    let statuses = std::thread::scope(|scope| {
        // All of them wait for Postgres at the same time.
        let lock = "BEGIN; LOCK TABLE enrolment_codes; SELECT pg_sleep(1)::text; COMMIT";
        let held = scope.spawn(|| database.query(lock));
        let granted = "SELECT count(*) FROM pg_locks WHERE relation = 'enrolment_codes'::regclass AND granted \
            AND mode = 'AccessExclusiveLock' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        database.wait_until(granted, "1");
        let output = curl(est.ca.openssl.dir.path())
            .args(["--cacert", "est.crt", "--max-time", "50", "-o", "/dev/null"])
            .args(["-w", "%{http_code}\n", "-u", &login, "--data-binary", "@pump-3.csr"])
            .args(["-H", "Content-Type: application/pkcs10", "--parallel", "--parallel-immediate"])
            .args(["--parallel-max", "60", &url])
            .output()
            .unwrap();
        held.join().unwrap();
        String::from_utf8(output.stdout).unwrap()
    });
    let count = |status: &str| statuses.lines().filter(|line| *line == status).count();
    // On a slow machine the last ones get 503 and try again.
    assert!(count("200") > 30 && count("200") + count("503") == 60, "{statuses}");
}

#[test]
fn clients_that_never_finish_their_handshake_hold_up_no_other() {
    let est = EstDaemon::start();
    est.ca.request("pump-3", "/");
    let code = est.code(&["--device", "pump-3"]);
    let connect = || TcpStream::connect(("127.0.0.1", est.port)).unwrap();
    // More than there are places: some send nothing, some the beginning of a handshake.
    let mut held: Vec<TcpStream> = (0..300).map(|_| connect()).collect();
    for stream in held.iter_mut().step_by(2) {
        let _ = stream.write_all(&[0x16, 3, 1, 2, 0, 1]);
    }
    let answer = est.enrol("pump-3", &code, "pump-3.csr");
    assert_eq!(answer.status, 200, "{answer:?}");
    // What is no TLS ends at once, and the others within their time.
    let mut plain = connect();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    plain.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said);
    assert!(!said.starts_with(b"HTTP"), "{said:?}");
    est.daemon.wait_metric("sluice_est_handshakes_failed_total", 1.0);
    wait::until("the places are free again", || {
        est.daemon.metric("sluice_http_connections{listener=\"est\"}") < 1.0
    });
    drop(held);
}

#[test]
fn while_postgres_is_away_the_answer_says_when_to_try_again() {
    let ca = CaFixture::new();
    let port = ca.database.url().rsplit_once(':').unwrap().1.split('/').next().unwrap().parse();
    let proxy = Proxy::to(port.unwrap());
    let url = ca.database.url_through(proxy.port());
    let est = EstDaemon::on(ca, &url, &[]);
    est.ca.request("pump-3", "/");
    let code = est.code(&["--device", "pump-3"]);
    est.ca.request("pump-4", "/");
    assert_eq!(est.enrol("pump-4", &est.code(&["--device", "pump-4"]), "pump-4.csr").status, 200);

    for way in ["cut", "dark"] {
        match way {
            "cut" => proxy.refuse(),
            // Also on new connections: other tasks of the daemon may have the others.
            _ => proxy.hold(Direction::ToClient),
        }
        let answer = est.enrol("pump-3", &code, "pump-3.csr");
        assert_eq!(answer.status, 503, "{way}: {answer:?}");
        assert!(answer.headers.contains("retry-after: 5"), "{way}: {answer:?}");
        assert_eq!(est.curl("/cacerts", &[]).status, 200, "{way}: it needs no Postgres");
        match way {
            "cut" => proxy.allow(),
            _ => proxy.release(Direction::ToClient),
        }
        // A request that found no Postgres is no wrong code.
        let other = format!("valve-{way}");
        let own = est.code(&["--device", &other]);
        wait::until("Postgres is reached again", || {
            est.enrol(&other, &own, "pump-3.csr").status == 200
        });
    }
    assert_eq!(est.enrol("pump-3", &code, "pump-3.csr").status, 200);
}
