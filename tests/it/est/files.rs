//! The files of the listener: refused at the start, read again while it runs, judged by `doctor`.

use std::fs;

use serde_json::Value;

use super::est_daemon::{EstDaemon, make_server_certificate};
use crate::certificates::ca_fixture::CaFixture;
use crate::support::process::run_to_end;
use crate::support::test_daemon::TestDaemon;
use crate::support::wait;

#[test]
fn files_that_tls_cannot_use_are_refused_at_the_start_by_name() {
    let ca = CaFixture::new();
    make_server_certificate(&ca, "est");
    make_server_certificate(&ca, "other");
    let start = |cert: &str, key: &str| {
        let started = TestDaemon::builder()
            .listener("EST_BIND")
            .set("EST_SERVER_CERT", &ca.path(cert))
            .set("EST_SERVER_KEY", &ca.path(key))
            .with(&ca.files())
            .start();
        assert_eq!(started.daemon.wait(), 78, "{}", started.daemon.log());
        started.daemon.log()
    };
    run_to_end(std::process::Command::new("chmod").args(["644", &ca.path("other.key")]));
    for (cert, key, words) in [
        ("none.crt", "est.key", "EST_SERVER_CERT"),
        ("est.key", "est.key", "EST_SERVER_CERT"),
        ("est.crt", "none.key", "EST_SERVER_KEY"),
        ("est.crt", "other.key", "chmod 600"),
    ] {
        let log = start(cert, key);
        assert!(log.contains(words), "{cert} {key}: {log}");
    }
    run_to_end(std::process::Command::new("chmod").args(["600", &ca.path("other.key")]));
    let log = start("est.crt", "other.key");
    assert!(log.contains("EST_SERVER_KEY"), "{log}");
}

#[test]
fn replaced_files_are_used_within_seconds_and_broken_ones_never() {
    let est = EstDaemon::start();
    let served = |name: &str| est.curl("/cacerts", &["--cacert", &format!("{name}.crt")]).status;
    assert_eq!(served("est"), 200);
    let first = est.daemon.metric("sluice_est_certificate_not_after_seconds");
    assert!(first > 0.0);

    make_server_certificate(&est.ca, "next");
    for (from, to) in [("next.crt", "est.crt"), ("next.key", "est.key")] {
        fs::copy(est.ca.path(from), est.ca.path(to)).unwrap();
    }
    wait::until("the new certificate is served", || served("next") == 200);
    fs::write(est.ca.path("est.crt"), "broken").unwrap();
    wait::until("the metric reports it", || {
        est.daemon.metric("sluice_est_certificate_current") < 0.5
    });
    assert_eq!(served("next"), 200, "the listener keeps what it has");
    assert!(est.daemon.log().contains("the files of the EST listener cannot be used"));
    fs::copy(est.ca.path("next.crt"), est.ca.path("est.crt")).unwrap();
    est.daemon.wait_metric("sluice_est_certificate_current", 1.0);
}

#[test]
fn doctor_judges_the_files() {
    let ca = CaFixture::new();
    make_server_certificate(&ca, "est");
    let found = |cert: &str| -> Value {
        let start = TestDaemon::builder()
            .listener("EST_BIND")
            .set("EST_SERVER_CERT", &ca.path(cert))
            .set("EST_SERVER_KEY", &ca.path("est.key"))
            .with(&ca.files());
        let output = start.settings().command(&["doctor", "--output", "json"]).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap().clone();
        findings.into_iter().find(|finding| finding["check"] == "EST listener").unwrap()
    };
    assert_eq!(found("est.crt")["level"], "ok");
    assert_eq!(found("ca.crt")["level"], "error");
    ca.openssl.done("x509 -in est.crt -signkey est.key -days 3 -out soon.crt");
    assert_eq!(found("soon.crt")["level"], "warning");
}
