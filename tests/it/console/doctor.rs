//! The doctor in the daemon: by the API and on its page, with a broker and without Postgres.

use serde_json::Value;

use super::browser::Browser;
use crate::api::client::{TOKEN, ask, builder};
use crate::support::postgres::{PASSWORD, Postgres};
use crate::support::wait::{for_some, until};

/// The levels of the findings of a check.
fn levels<'a>(report: &'a Value, check: &str) -> Vec<&'a str> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings.filter(|row| row["check"] == check).map(|row| row["level"].as_str().unwrap()).collect()
}

#[test]
fn the_daemon_examines_itself_and_shares_a_recent_result() {
    let it = builder().database().broker().start_ready();
    let admin = Browser::signed_in(it.listening("HTTP_BIND"), TOKEN);
    let report = for_some("the examination ends", || {
        let report = admin.api("GET", "/doctor?max_age=3600", None).ok(200);
        (report["state"] == "done").then_some(report)
    });
    for check in ["settings", "broker", "broker delivery", "Postgres", "schema", "partitions"] {
        assert!(levels(&report, check).iter().all(|level| *level != "error"), "{report:#}");
        assert!(!levels(&report, check).is_empty(), "{check} in {report:#}");
    }
    assert_eq!(levels(&report, "daemon"), ["ok"], "{report:#}");
    let again = admin.api("GET", "/doctor?max_age=3600", None).ok(200);
    assert_eq!(again["started_at"], report["started_at"], "a recent result is shared");
    assert_eq!(admin.api("GET", "/doctor?max_age=1", None).status, 400);

    let page = admin.get("/console/doctor").page();
    for text in ["<h1>Doctor</h1>", "Without a problem <", "sluice doctor", "Examined "] {
        assert!(page.contains(text), "{text} is missing from\n{page}");
    }
    for secret in [TOKEN, PASSWORD] {
        assert!(!page.contains(secret) && !report.to_string().contains(secret));
    }
    until("the result is not recent", || {
        let next = admin.api("GET", "/doctor?wait=0", None).ok(200);
        next["started_at"] != report["started_at"]
    });
    assert_eq!(admin.post("/console/doctor/run", &[]).redirected(), "/console/doctor");
}

#[test]
fn without_broker_and_postgres_the_doctor_says_so() {
    let postgres = Postgres::private();
    let database = postgres.database();
    let it = builder().on_database(&database).start();
    let port = it.listening("HTTP_BIND");
    let admin = Browser::signed_in(port, TOKEN);
    postgres.stop();
    let report = for_some("the examination ends", || {
        // A session is read from Postgres; the admin token is not.
        let bearer = format!("Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n");
        let report = ask(port, "GET", "/api/v1/doctor?max_age=3600&wait=1", &bearer, b"");
        (report.status == 200 && report.ok(200)["state"] == "done").then(|| report.ok(200))
    });
    assert_eq!(levels(&report, "Postgres"), ["error"], "{report:#}");
    assert_eq!(levels(&report, "broker"), ["error"], "{report:#}");
    assert_eq!(levels(&report, "schema"), ["warning"], "{report:#}");
    let page = admin.get("/console/doctor").page();
    assert!(page.contains("not checked: Postgres was not reached"), "{page}");
    assert!(page.find("Errors").unwrap() < page.find("Warnings").unwrap());
}
