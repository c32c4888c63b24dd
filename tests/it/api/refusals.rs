//! Orders for certificates that are refused, each with a reason a program can act on, and without a
//! trace.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::client::{Answer, ApiDaemon};
use super::with_authority::{ApiWithAuthority, ISSUE};

/// Whatever a refusal could have left.
const TRACES: &str = "SELECT (SELECT count(*) FROM certificate_serials) + (SELECT count(*) FROM device_certificates) \
    + (SELECT count(*) FROM audit_log WHERE action LIKE 'certificate.%')";

/// A request as no command of OpenSSL makes it, in PEM.
fn request_named(name: &str) -> String {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}

fn says(api: &ApiWithAuthority, answer: &Answer, field: &str, words: &[&str]) {
    assert_eq!(answer.refused(), field);
    let detail = answer.detail(422, "refused");
    assert!(words.iter().all(|word| detail.contains(word)), "{words:?}: {detail}");
    assert_eq!(api.ca.database.value(TRACES), "0", "{detail}");
}

#[test]
fn a_request_that_is_not_to_be_trusted_leaves_no_trace() {
    let api = ApiWithAuthority::start();
    let openssl = &api.ca.openssl;
    let refuse = |csr: &str, words: &[&str]| says(&api, &api.order(csr), "csr", words);
    let read = |name: &str| String::from_utf8(openssl.read(name)).unwrap();
    refuse(
        &api.request("others", r"/CN=acme\/device\/pump-2"),
        &["acme/device/pump-2", "acme/device/pump-1"],
    );
    for subject in
        [r"/CN=\+\/device\/#", r"/CN=acme\/device\/", r"/CN=acme\/device\/pump-1\/x", "/CN=#"]
    {
        refuse(&api.request("odd", subject), &["acme/device/pump-1"]);
    }
    refuse(&request_named("acme/device/pump-1\0"), &["acme/device/pump-1"]);
    openssl.done("req -in others.csr -outform DER -out whole.der");
    let mut bytes = openssl.read("whole.der");
    *bytes.last_mut().unwrap() ^= 1;
    openssl.dir.write("altered.der", &bytes);
    openssl.done("req -in altered.der -inform DER -out altered.csr");
    refuse(&read("altered.csr"), &["signature is invalid"]);
    openssl.done("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out weak.key");
    openssl.done("req -new -key weak.key -subj / -out weak.csr");
    refuse(&read("weak.csr"), &["1024 bits"]);
    openssl.done("req -new -key others.key -subj / -addext basicConstraints=critical,CA:true -out powers.csr");
    refuse(&read("powers.csr"), &["authority's powers"]);
    openssl.done("req -new -sha1 -key others.key -subj / -out sha1.csr");
    refuse(&read("sha1.csr"), &["SHA-256"]);
}

#[test]
fn a_device_that_cannot_have_a_certificate_leaves_no_trace() {
    let api = ApiWithAuthority::start();
    let long = "d".repeat(60);
    api.ca.database.query(&format!(
        "INSERT INTO devices (tenant_id, device_id, status) VALUES ('acme', '{long}', 'ACTIVE'), ('acme', 'gone', 'REVOKED')"
    ));
    let body = json!({ "csr": api.request("dev", "/") });
    let order = |device: &str, body: &Value| {
        api.post(&format!("/tenants/acme/devices/{device}/certificates"), body)
    };
    let detail = order(&long, &body).detail(422, "refused");
    assert!(detail.contains("72 characters") && detail.contains("64"), "{detail}");
    let detail = order("nobody", &body).detail(404, "not-found");
    assert!(
        detail.contains("device nobody not found in tenant acme")
            && detail.contains("POST /api/v1/tenants/acme/devices"),
        "{detail}"
    );
    assert!(order("gone", &body).detail(409, "conflict").contains("REVOKED"));
    let outlives = json!({ "csr": body["csr"], "days": 500 });
    says(&api, &api.post(ISSUE, &outlives), "days", &["outlive the authority"]);
    for wrong in ["+", "%23", "a%2Fb", "%00"] {
        assert_eq!(order(wrong, &body).blamed(), "device", "{wrong}");
    }
    assert_eq!(api.post("/tenants/%2B/devices/pump-1/certificates", &body).blamed(), "tenant");
    assert_eq!(api.ca.database.value(TRACES), "0");
}

#[test]
fn without_an_authority_the_setting_that_is_missing_is_named() {
    let api = ApiDaemon::start();
    api.post("/tenants", &json!({ "tenant_id": "acme" })).ok(201);
    api.post("/tenants/acme/devices", &json!({ "device_id": "pump-1" })).ok(201);
    let nobody = "/certificates/01890a5d-ac96-774b-bcce-b302099a8057";
    let made = json!({ "new_key": true });
    for (path, body) in [(ISSUE, &made), ("/certificates/import", &json!({ "cert_pem": "x" }))] {
        let answer = api.post(path, body);
        let detail = answer.detail(503, "not-set-up");
        assert!(
            detail.contains("DEVICE_CA_CERT_PATH is not set") && detail.contains("sluice ca init"),
            "{detail}"
        );
        assert!(
            !answer.head.contains("retry-after"),
            "trying again does not help: {}",
            answer.head
        );
    }
    // A renewal is signed by the authority of the old certificate, so that one is looked up first.
    for path in ["renew", "rotate"] {
        api.post(&format!("{nobody}/{path}"), &made).detail(404, "not-found");
    }
    // What needs no authority is answered.
    assert_eq!(api.get("/certificates").ok(200)["items"], json!([]));
}

#[test]
fn an_authority_that_cannot_be_used_is_named_with_what_to_do() {
    let api = ApiWithAuthority::start();
    let made = json!({ "new_key": true });
    let key = api.ca.path("ca.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(api.post(ISSUE, &made).detail(503, "not-set-up").contains("chmod 600"));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(api.ca.path("ca.crt"), api.ca.path("away.crt")).unwrap();
    assert!(api.post(ISSUE, &made).detail(503, "not-set-up").contains("cannot be read"));
    fs::rename(api.ca.path("away.crt"), api.ca.path("ca.crt")).unwrap();
    assert_eq!(api.ca.database.value(TRACES), "0");
    api.post(ISSUE, &made).ok(201);
}
