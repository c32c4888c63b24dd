//! What gets no certificate, and the answer: one for every fault of a code, a reason for the rest.

use super::est_daemon::{EstAnswer, EstDaemon};

/// The one answer to a wrong code.
fn assert_wrong_code(answer: &EstAnswer, what: &str) {
    assert_eq!(answer.status, 401, "{what}: {answer:?}");
    assert!(answer.headers.contains("www-authenticate: basic realm=\"est\""), "{what}: {answer:?}");
    assert_eq!(
        answer.body, "send the user name <tenant>/device/<device> and a valid enrolment code\n",
        "{what}"
    );
}

#[test]
fn every_fault_of_a_code_has_the_same_answer() {
    let est = EstDaemon::start();
    let database = &est.ca.database;
    database.query("INSERT INTO tenants (tenant_id, name) VALUES ('other', 'Other')");
    est.ca.request("pump-3", "/");
    let code = |options: &[&str]| est.code(options);
    let made = |options: &[&str]| est.made(options);

    assert_wrong_code(&est.post("/simpleenroll", "pump-3.csr", &[]), "no credentials");
    let token = ["-H", "Authorization: Bearer x"];
    assert_wrong_code(&est.post("/simpleenroll", "pump-3.csr", &token), "a token");

    let good = code(&["--device", "pump-3"]);
    let with = |path: &str, login: &str| est.post(path, "pump-3.csr", &["-u", login]);
    for (path, login, what) in [
        ("/simpleenroll", "acme/device/pump-3:", "an empty code"),
        ("/simpleenroll", "acme/device/pump-3:00000-00000-00000-00000-00000", "a wrong code"),
        ("/simpleenroll", &format!("acme/device/pump-4:{good}"), "another device"),
        ("/simpleenroll", &format!("other/device/pump-3:{good}"), "another tenant"),
        ("/simpleenroll", &format!("nobody/device/pump-3:{good}"), "no tenant"),
        ("/simpleenroll", &format!("pump-3:{good}"), "no tenant in name and path"),
        ("/other/simpleenroll", &format!("pump-3:{good}"), "the tenant of the path"),
        ("/other/simpleenroll", &format!("acme/device/pump-3:{good}"), "two tenants"),
        ("/a%20b/simpleenroll", &format!("acme/device/pump-3:{good}"), "a path of no tenant"),
    ] {
        assert_wrong_code(&with(path, login), what);
    }
    let expired = made(&["--device", "pump-3"]);
    let id = expired["code_id"].as_str().unwrap();
    database.query(&format!(
        "UPDATE enrolment_codes SET expires_at = now() - interval '1 second' WHERE code_id = '{id}'"
    ));
    assert_wrong_code(
        &est.enrol("pump-3", expired["code"].as_str().unwrap(), "pump-3.csr"),
        "expired",
    );
    let revoked = made(&["--device", "pump-3"]);
    est.ca.done(&["enrol", "revoke", "acme", revoked["code_id"].as_str().unwrap()]);
    assert_wrong_code(
        &est.enrol("pump-3", revoked["code"].as_str().unwrap(), "pump-3.csr"),
        "revoked",
    );
    // A wrong code learns nothing about the request.
    est.ca.openssl.dir.write("garbage", "no request");
    assert_wrong_code(&est.post("/simpleenroll", "garbage", &["-u", "acme/pump-3:x"]), "garbage");
    assert_eq!(database.value("SELECT count(*) FROM device_certificates"), "0");
    assert_eq!(database.value("SELECT count(*) FROM devices WHERE device_id = 'pump-3'"), "0");
    assert_eq!(est.enrol("pump-3", &good, "pump-3.csr").status, 200);
}

#[test]
fn a_right_code_learns_why_there_is_no_certificate() {
    let est = EstDaemon::start();
    let database = &est.ca.database;
    let openssl = &est.ca.openssl;
    let refused = |device: &str, code: &str, csr: &str, status: u16, words: &str| {
        let answer = est.enrol(device, code, csr);
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.body.contains(words), "{answer:?}");
        assert!(answer.headers.contains("content-type: text/plain"), "{answer:?}");
    };
    est.ca.request("pump-3", "/");
    let code = est.code(&["--device", "pump-3"]);

    est.ca.request("stranger", "/CN=acme\\/device\\/pump-2");
    refused("pump-3", &code, "stranger.csr", 403, "names \"acme/device/pump-2\"");
    openssl.dir.write("garbage", "AAAA");
    refused("pump-3", &code, "garbage", 400, "not a certificate request");
    openssl.dir.write("empty", "");
    refused("pump-3", &code, "empty", 400, "not a certificate request");
    openssl.done("req -new -newkey rsa:1024 -nodes -keyout weak.key -subj / -out weak.csr");
    refused("pump-3", &code, "weak.csr", 400, "1024 bits");
    openssl.done("req -new -key pump-3.key -subj / -addext basicConstraints=CA:true -out ca.csr");
    refused("pump-3", &code, "ca.csr", 400, "authority");
    openssl.dir.write("long", "A".repeat(40_000));
    refused("pump-3", &code, "long", 413, "32768");
    let form = ["-u", "acme/pump-3:x", "-H", "Content-Type: text/plain"];
    assert_eq!(est.curl("/simpleenroll", &[&form[..], &["-d", "x"]].concat()).status, 415);

    let registered = est.code(&["--device", "pump-4", "--registered-only"]);
    refused("pump-4", &registered, "pump-3.csr", 403, "adds no devices");
    for status in ["INACTIVE", "REVOKED"] {
        let code = est.code(&["--device", "pump-2"]);
        database
            .query(&format!("UPDATE devices SET status = '{status}' WHERE device_id = 'pump-2'"));
        refused("pump-2", &code, "pump-3.csr", 403, &format!("is {status}"));
    }
    database.query("UPDATE tenants SET status = 'SUSPENDED'");
    refused("pump-3", &code, "pump-3.csr", 403, "SUSPENDED");
    database.query("UPDATE tenants SET status = 'ACTIVE'");
    // None of it used the code, and nothing was signed.
    let signed = "SELECT count(*) FROM certificate_serials";
    assert_eq!(database.value(signed), "0");
    assert_eq!(database.value("SELECT sum(uses) FROM enrolment_codes"), "0");
    let kept = est.enrol("pump-3", &code, "pump-3.csr");
    assert_eq!(kept.status, 200, "{kept:?}");

    // A code for many does not take the place of a device that has a certificate.
    let many = est.code(&["--pattern", "pump-*", "--uses", "5"]);
    est.ca.request("thief", "/");
    refused("pump-3", &many, "thief.csr", 403, "has a certificate");
    assert_eq!(database.value(signed), "1");
    assert_eq!(est.enrol("pump-5", &many, "thief.csr").status, 200);
    // A code for one device does, as after a loss of its key.
    let again = est.code(&["--device", "pump-3"]);
    assert_eq!(est.enrol("pump-3", &again, "thief.csr").status, 200);

    // The certificate of a key that was revoked is not handed out again.
    let id = database.value("SELECT certificate_id FROM enrolment_uses WHERE device_id = 'pump-5'");
    est.ca.done(&["cert", "revoke", &id]);
    refused("pump-5", &many, "thief.csr", 403, "is REVOKED");
    let again = est.code(&["--device", "pump-5"]);
    refused("pump-5", &again, "thief.csr", 403, "make a new key");
    database.query("UPDATE devices SET status = 'INACTIVE' WHERE device_id = 'pump-3'");
    refused("pump-3", &code, "pump-3.csr", 403, "is INACTIVE");
}
