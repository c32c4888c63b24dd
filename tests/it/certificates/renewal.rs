//! A device renews its certificate over MQTT: one certificate however often it requests, the old one
//! until the device confirms the new one, and none for a request that proves nothing.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::renewal_rig::{RenewalRig, TOPICS, wait_answering};
use crate::support::time_bounds::REVOCATION;
use crate::support::wait;

/// A response that says Postgres is away comes within this.
const AWAY: Duration = Duration::from_secs(8);

fn status(response: &Value) -> u64 {
    response["status"].as_u64().unwrap_or_else(|| panic!("{response}"))
}

#[test]
fn twenty_equal_requests_over_two_connections_and_a_kill_get_one_certificate() {
    let rig = RenewalRig::new(&[]);
    let daemon = rig.start("sluice");
    rig.request("new", "/");
    let payload = rig.renewal("new", "pump-1");
    let responses: Vec<Value> = thread::scope(|scope| {
        let by_certificate = scope.spawn(|| {
            (0..10).map(|_| rig.send("pump-1", "certificate/renew", &payload)).collect::<Vec<_>>()
        });
        let by_password = scope.spawn(|| {
            let send = || rig.try_send_by_password("certificate/renew", &payload);
            (0..10).map(|_| wait::for_ok("it is answered", send)).collect::<Vec<_>>()
        });
        wait::until("it is renewed", || rig.renewed() > 0);
        daemon.kill9();
        daemon.start_again();
        [by_certificate.join().unwrap(), by_password.join().unwrap()].concat()
    });
    let first = &responses[0];
    for response in &responses {
        assert_eq!(status(response), 200, "{response}");
        assert_eq!(response["body"], first["body"], "each response is the same");
    }
    assert_eq!(rig.renewed(), 1);
    assert_eq!(first["body"]["replaces"], rig.first.as_str());
    let hours = "SELECT round(extract(epoch FROM retire_at - now()) / 3600) FROM device_certificates WHERE retire_at IS NOT NULL";
    assert_eq!(rig.database.query(hours), [["24"]]);
    let audit = "SELECT actor || ' ' || action || ' ' || device_id FROM audit_log WHERE actor LIKE 'device:%'";
    assert_eq!(
        rig.database.query(audit),
        [["device:acme/pump-1 certificate.rotate pump-1"]],
        "the device is the actor"
    );

    // The new one is valid for OpenSSL and for the broker, and the old one still is.
    rig.keep("new", first);
    rig.openssl("verify -x509_strict -purpose sslclient -CAfile sluice/device-ca.crt new.crt");
    wait::until("both are accepted", || rig.lets_in("new") && rig.lets_in("pump-1"));
    // Also as DER, and with the new certificate: still the same.
    let mut der = payload.clone();
    der["format"] = "der".into();
    let body = rig.send("new", "certificate/renew", &der)["body"]["certificate"].clone();
    let pem = first["body"]["certificate"].as_str().unwrap();
    let lines: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    assert_eq!(body, Value::String(lines));

    let confirmation = json!({ "certificate": rig.fingerprint("new") });
    let confirmed = rig.send("new", "certificate/confirm", &confirmation);
    assert_eq!(confirmed["body"]["retired"], json!([rig.first]), "{confirmed}");
    wait::within(REVOCATION, "the old one is refused", || {
        if rig.lets_in("pump-1") { Err("it is accepted".to_owned()) } else { Ok(()) }
    });
    wait::until("the new one is accepted", || rig.lets_in("new"));
    let again = rig.send("new", "certificate/confirm", &confirmation);
    assert_eq!((status(&again), &again["body"]["retired"]), (200, &json!([])));
    // The old request is proven by a certificate that is revoked now.
    let replayed = rig.send("new", "certificate/renew", &payload);
    assert_eq!(status(&replayed), 403, "{replayed}");
    assert_eq!(rig.renewed(), 1);
    assert_eq!(daemon.terminate(), 0);
}

/// A certificate that has ended too long ago, and one that is revoked.
fn the_late_and_the_revoked_are_refused(rig: &RenewalRig, good: &Value) {
    let set = |what: &str| {
        rig.database
            .query(&format!("UPDATE device_certificates SET {what} WHERE id = '{}'", rig.first));
    };
    let by_password = |payload: &Value| {
        wait::for_ok("it is answered", || rig.try_send_by_password("certificate/renew", payload))
    };
    set("not_before = now() - interval '2 years', not_after = now() - interval '91 days'");
    let late = by_password(good);
    assert_eq!(status(&late), 403, "{late}");
    assert!(late["detail"].as_str().unwrap().contains("more than 90 days ago"), "{late}");
    set("not_after = now() + interval '90 days'");
    set("status = 'REVOKED', revoked_at = now(), revoked_reason = 'keyCompromise'");
    let revoked = by_password(good);
    assert_eq!(status(&revoked), 403, "{revoked}");
    assert!(revoked["detail"].as_str().unwrap().contains("is revoked"), "{revoked}");
}

#[test]
fn what_proves_nothing_or_must_not_be_signed_gets_no_certificate() {
    let rig = RenewalRig::new(&[]);
    let daemon = rig.start("sluice");
    rig.enroll("pump-2");
    rig.request("new", "/");
    let good = rig.renewal("new", "pump-1");
    let with = |changes: &[(&str, Value)]| {
        let mut payload = good.clone();
        for (name, value) in changes {
            payload[*name] = value.clone();
        }
        payload.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        payload
    };
    let request_of = |name: &str, csr: String| {
        with(&[("csr", csr.into()), ("proof", rig.proof(name, "pump-1").into())])
    };
    let foreign = rig.request("foreign", r"/CN=acme\/device\/pump-2");
    rig.openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out weak.key");
    let weak = rig.request_for("weak", "-subj /");
    rig.request("authority", "/");
    let authority =
        rig.request_for("authority", "-subj / -addext basicConstraints=critical,CA:true");
    let of_pump_2 = rig.fingerprint("pump-2");
    let cases = [
        ("no proof", with(&[("proof", Value::Null)]), 401),
        ("no certificate", with(&[("certificate", Value::Null)]), 400),
        ("another key", with(&[("proof", rig.proof("new", "new").into())]), 403),
        ("another request", with(&[("proof", rig.proof("weak", "pump-1").into())]), 403),
        (
            "another device",
            with(&[("proof", rig.proof_of("new", "pump-1", "acme/device/pump-2").into())]),
            403,
        ),
        ("the certificate of another", with(&[("certificate", of_pump_2.into())]), 403),
        ("an unknown certificate", with(&[("certificate", "ab".repeat(32).into())]), 403),
        ("no signature", with(&[("proof", "QUJD".into())]), 403),
        ("no base64", with(&[("proof", "%%".into())]), 400),
        ("no request", with(&[("csr", Value::Null)]), 400),
        ("no PKCS#10", with(&[("csr", "QUJD".into())]), 400),
        ("an unknown field", with(&[("days", 3650.into())]), 400),
        ("a request for pump-2", request_of("foreign", foreign), 422),
        ("RSA 1024", request_of("weak", weak), 422),
        ("CA:true", request_of("authority", authority), 422),
        ("a wrong token", with(&[("proof", Value::Null), ("provision_token", "x".into())]), 401),
    ];
    for (what, payload, expected) in cases {
        let response = rig.send("pump-1", "certificate/renew", &payload);
        assert_eq!(status(&response), expected, "{what}: {response}");
    }
    let confirm = json!({ "certificate": rig.fingerprint("pump-2") });
    assert_eq!(status(&rig.send("pump-1", "certificate/confirm", &confirm)), 403);

    the_late_and_the_revoked_are_refused(&rig, &good);
    assert_eq!(rig.renewed(), 0, "none of them made a row");
    assert!(daemon.metric("sluice_certificates_renewed_total{by=\"mqtt\"}") < 1.0);
    assert!(!daemon.log().contains("proof\":"), "no request is logged");
}

#[test]
fn an_old_request_that_comes_again_renews_no_expired_certificate() {
    let rig = RenewalRig::new(&[]);
    let _daemon = rig.start("sluice");
    let send = |route: &str, payload: &Value| {
        wait::for_ok("it is answered", || rig.try_send_by_password(route, payload))
    };
    let renew = |payload: &Value| send("certificate/renew", payload);
    let refused = |payload: &Value, words: &str| {
        let response = renew(payload);
        assert_eq!(status(&response), 403, "{response}");
        assert!(response["detail"].as_str().unwrap().contains(words), "{response}");
    };
    let confirm = |name: &str| {
        let confirmation = json!({ "certificate": rig.fingerprint(name) });
        send("certificate/confirm", &confirmation)["body"]["retired"].as_array().unwrap().len()
    };
    rig.database.query(
        "UPDATE device_certificates SET not_before = now() - interval '90 days', not_after = now() - interval '1 day', \
         status = 'EXPIRED'",
    );
    for name in ["new", "third", "other"] {
        rig.request(name, "/");
    }
    let captured = rig.renewal("new", "pump-1");
    let first = renew(&captured);
    rig.keep("new", &first);
    assert_eq!(renew(&captured)["body"], first["body"], "its answer may have been lost");
    assert_eq!(confirm("new"), 0, "an expired certificate needs no revocation");
    refused(&rig.renewal("other", "pump-1"), "was replaced");

    rig.keep("third", &renew(&rig.renewal("third", "new")));
    assert_eq!(confirm("third"), 1);
    let unmark = "UPDATE device_certificates SET retire_at = NULL WHERE status = 'EXPIRED'";
    rig.database.query(unmark);
    // The key of the captured request was replaced by a confirmation.
    refused(&captured, "make a new key");
    refused(&rig.renewal("other", "pump-1"), "was replaced");
    assert_eq!(rig.renewed(), 2);
}

#[test]
fn a_retained_request_gets_no_certificate_at_any_restart() {
    let rig = RenewalRig::new(&[]);
    let daemon = rig.start("sluice");
    rig.request("new", "/");
    let payload = rig.renewal("new", "pump-1");
    rig.publish_retained("pump-1", "certificate/renew", &payload);
    daemon.wait_metric("sluice_api_requests_dropped_total{why=\"retained\"}", 1.0);
    for _ in 0..5 {
        assert_eq!(daemon.terminate(), 0);
        daemon.start_again();
        wait_answering(&daemon);
        // Behind what the broker sends for a new subscription.
        assert_eq!(status(&rig.send("pump-1", "time", &json!({}))), 200);
    }
    assert_eq!(rig.renewed(), 0);
    // The same request, sent as it should be.
    assert_eq!(status(&rig.send("pump-1", "certificate/renew", &payload)), 200);
    assert_eq!(rig.renewed(), 1);
}

#[test]
fn two_replicas_that_renew_at_once_make_one_certificate() {
    let rig = RenewalRig::new(&[]);
    // Without a share group each of them gets each request.
    let replicas = [rig.start("one"), rig.start_beside("other")];
    for turn in 0..3 {
        let name = format!("new-{turn}");
        rig.request(&name, "/");
        let before = rig.renewed();
        let payload = rig.renewal(&name, "pump-1");
        // Both have judged the request and wait for the row of the device when it becomes free.
        let response = thread::scope(|scope| {
            let lock = "BEGIN; SELECT device_id FROM devices WHERE device_id = 'pump-1' FOR UPDATE; \
                SELECT pg_sleep(1)::text; COMMIT";
            scope.spawn(|| rig.database.query(lock));
            rig.database.wait_until(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'",
                "1",
            );
            rig.send("pump-1", "certificate/renew", &payload)
        });
        if turn == 2 {
            assert_eq!(status(&response), 409, "three are valid: {response}");
            assert_eq!(rig.renewed(), before);
            continue;
        }
        assert_eq!(status(&response), 200, "{response}");
        assert_eq!(rig.renewed(), before + 1);
    }
    let answered = |daemon: &crate::support::daemon::Daemon, status: u16| {
        daemon.metric(&format!(
            "sluice_api_requests_total{{route=\"certificate/renew\",status=\"{status}\"}}"
        ))
    };
    for replica in &replicas {
        wait::until("each answered each", || {
            answered(replica, 200) > 1.5 && answered(replica, 409) > 0.5
        });
    }
    assert_eq!(rig.renewed(), 2);
    // The device chose the second of two certificates that both replace its first.
    let newest = "SELECT id::text FROM device_certificates ORDER BY created_at DESC LIMIT 1";
    let newest = rig.database.value(newest);
    let confirmed = rig.send("pump-1", "certificate/confirm", &json!({ "certificate": newest }));
    assert_eq!(confirmed["body"]["retired"].as_array().unwrap().len(), 2, "{confirmed}");
}

#[test]
fn a_device_that_renews_without_end_is_stopped_and_one_that_waits_for_postgres_is_answered() {
    let rig = RenewalRig::new(&[]);
    let _daemon = rig.start("sluice");
    let mut current = "pump-1".to_owned();
    for turn in 0..7 {
        let name = format!("new-{turn}");
        rig.request(&name, "/");
        let payload = rig.renewal(&name, &current);
        let renew = || {
            wait::for_ok("it is answered", || {
                let answer = rig.try_send_by_password("certificate/renew", &payload)?;
                if status(&answer) == 503 { Err(answer.to_string()) } else { Ok(answer) }
            })
        };
        if turn == 1 {
            rig.while_postgres_waits(|| {
                let response = wait::within(AWAY, "Postgres is missed", || {
                    rig.try_send_by_password("certificate/renew", &payload)
                });
                assert_eq!(status(&response), 503, "{response}");
                assert!(response["retry_after"].as_u64().unwrap() > 0, "{response}");
            });
            assert_eq!(rig.renewed(), 1, "it left nothing");
        }
        let response = renew();
        if turn == 6 {
            assert_eq!(status(&response), 429, "{response}");
            assert!(response["retry_after"].as_u64().unwrap() > 86_000, "{response}");
            break;
        }
        assert_eq!(status(&response), 200, "{response}");
        rig.keep(&name, &response);
        let confirmation = json!({ "certificate": rig.fingerprint(&name) });
        let confirmed = wait::for_ok("it is confirmed", || {
            let answer = rig.try_send_by_password("certificate/confirm", &confirmation)?;
            if status(&answer) == 503 { Err(answer.to_string()) } else { Ok(answer) }
        });
        assert_eq!(status(&confirmed), 200, "{confirmed}");
        current = name;
    }
    assert_eq!(rig.renewed(), 6);
}

#[test]
fn with_its_token_or_without_any_proof_a_device_renews_only_where_that_is_wanted() {
    let rig = RenewalRig::new(&[("CERT_RENEW_PROOF", "0")]);
    let daemon = rig.start("sluice");
    assert!(daemon.log().contains("CERT_RENEW_PROOF=0"), "it is warned of at the start");
    let csr = rig.request("bare", "/");
    let bare = rig.send("pump-1", "certificate/renew", &json!({ "csr": csr }));
    assert_eq!(status(&bare), 200, "the topic is enough: {bare}");
    // A signature that is sent is verified all the same.
    rig.request("new", "/");
    let mut wrong = rig.renewal("new", "pump-1");
    wrong["proof"] = rig.proof("new", "new").into();
    assert_eq!(status(&rig.send("pump-1", "certificate/renew", &wrong)), 403);
    assert_eq!(daemon.terminate(), 0);
    // The topic is not enough where the device has to authenticate and cannot; `null` is no proof.
    let daemon =
        rig.settings.clone().set("REQUIRE_TOKEN", "1").set("CERT_AUTH_ENABLED", "0").start();
    wait_answering(&daemon);
    let null = rig.send("pump-1", "certificate/renew", &json!({ "csr": csr, "proof": null }));
    assert_eq!(null["reason"], "TOKEN_NOT_SET_IN_REGISTRY", "{null}");
    assert_eq!(daemon.terminate(), 0);

    let daemon = rig.settings.clone().set("CERT_RENEW_PROOF", "1").start();
    wait_answering(&daemon);
    let token = rig.settings.run(&["device", "set-token", "acme", "pump-1", "--output", "json"]);
    let token: Value = serde_json::from_str(&token).unwrap();
    let csr = rig.request("by-token", "/");
    for (token, expected) in [(json!("wrong"), 403), (token["token"].clone(), 200)] {
        let payload = json!({ "csr": csr, "provision_token": token });
        wait::for_ok("the token decides", || {
            let response = rig.try_send("pump-1", "certificate/renew", &payload)?;
            if status(&response) == expected { Ok(()) } else { Err(response.to_string()) }
        });
    }
    assert_eq!(daemon.terminate(), 0);

    // Off, and without an authority.
    let off = rig.settings.clone().set("CERT_RENEW_OVER_MQTT", "0").start();
    wait_answering(&off);
    let response = rig.send("pump-1", "certificate/renew", &wrong);
    assert_eq!(status(&response), 404, "{response}");
    assert!(response["detail"].as_str().unwrap().contains("CERT_RENEW_OVER_MQTT=1"), "{response}");
    assert_eq!(off.terminate(), 0);
    let keyless = rig.settings.clone().set("DEVICE_CA_KEY_PATH", "");
    let keyless = keyless.set("CRL_OUTPUT_PATH", "").set("BROKER_PROBE_ADDR", "").start();
    wait_answering(&keyless);
    rig.database.query(
        "UPDATE device_certificates SET status = 'REVOKED', revoked_at = now(), revoked_reason = 'superseded' \
         WHERE replaces IS NOT NULL",
    );
    rig.request("fresh", "/");
    let response = rig.send("pump-1", "certificate/renew", &rig.renewal("fresh", "pump-1"));
    assert_eq!(status(&response), 503, "{response}");
    assert!(response["detail"].as_str().unwrap().contains("DEVICE_CA_KEY_PATH"), "{response}");
    assert!(!response["detail"].as_str().unwrap().contains(TOPICS));
}
