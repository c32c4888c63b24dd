//! What is refused is refused with a reason a person can act on, and has stored nothing: no number,
//! no row, no entry.

use super::ca_fixture::{CaFixture, NAME, TENANT};

/// Whatever a refusal could have left.
const TRACES: &str = "SELECT (SELECT count(*) FROM certificate_serials) + (SELECT count(*) FROM device_certificates) \
    + (SELECT count(*) FROM audit_log WHERE action LIKE 'certificate.%')";

/// Refused with these words, and without a trace.
fn without_trace(ca: &CaFixture, line: &[&str], words: &[&str]) {
    let said = ca.refused(line);
    assert!(words.iter().all(|word| said.contains(word)), "{line:?}: {said}");
    assert_eq!(ca.database.value(TRACES), "0", "{line:?}");
}

/// A request as no command of OpenSSL makes it.
fn request_named(name: &str) -> String {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}

#[test]
fn a_request_that_is_not_to_be_trusted_leaves_no_trace() {
    let ca = CaFixture::new();
    let refuse = |csr: &str, words: &[&str]| {
        without_trace(&ca, &["cert", "issue", TENANT, NAME, "--csr", csr], words);
    };
    let others = ca.request("others", r"/CN=acme\/device\/pump-2");
    refuse(&others, &["acme/device/pump-2", "acme/device/pump-1"]);
    for subject in
        [r"/CN=\+\/device\/#", r"/CN=acme\/device\/", r"/CN=acme\/device\/pump-1\/x", "/CN=#"]
    {
        refuse(&ca.request("odd", subject), &["acme/device/pump-1"]);
    }
    ca.openssl.dir.write("nul.csr", request_named("acme/device/pump-1\0"));
    refuse(&ca.path("nul.csr"), &["acme/device/pump-1"]);
    ca.openssl.done("req -in others.csr -outform DER -out whole.der");
    let mut bytes = ca.openssl.read("whole.der");
    *bytes.last_mut().unwrap() ^= 1;
    ca.openssl.dir.write("altered.der", &bytes);
    refuse(&ca.path("altered.der"), &["signature is invalid"]);
    ca.openssl.done("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out weak.key");
    ca.openssl.done("req -new -key weak.key -subj / -out weak.csr");
    refuse(&ca.path("weak.csr"), &["1024 bits"]);
    ca.openssl.done("req -new -key others.key -subj / -addext basicConstraints=critical,CA:true -out powers.csr");
    refuse(&ca.path("powers.csr"), &["authority's powers"]);
    ca.openssl.dir.write("none.csr", "hello");
    refuse(&ca.path("none.csr"), &["not a certificate request"]);
    refuse(&ca.path("absent.csr"), &["cannot read"]);
}

#[test]
fn a_device_that_cannot_have_a_certificate_leaves_no_trace() {
    let ca = CaFixture::new();
    let long = "d".repeat(60);
    ca.database.query(&format!(
        "INSERT INTO devices (tenant_id, device_id, status) VALUES ('acme', '{long}', 'ACTIVE'), ('acme', 'gone', 'REVOKED')"
    ));
    let request = ca.request("dev", "/");
    let refuse = |tenant: &str, device: &str, more: &[&str], words: &[&str]| {
        let line = ["cert", "issue", tenant, device, "--csr", &request];
        without_trace(&ca, &[&line[..], more].concat(), words);
    };
    refuse(TENANT, &long, &[], &["72 characters", "64"]);
    refuse(
        TENANT,
        "nobody",
        &[],
        &["device nobody not found in tenant acme", "sluice device add acme nobody"],
    );
    refuse(TENANT, "gone", &[], &["REVOKED"]);
    refuse(TENANT, NAME, &["--days", "500"], &["outlive the authority"]);
    for wrong in ["+", "#", "a/b", ""] {
        refuse(TENANT, wrong, &[], &["a name"]);
        refuse(wrong, NAME, &[], &["a name"]);
    }
}

#[test]
fn what_is_not_there_is_said_with_what_to_do() {
    let ca = CaFixture::new();
    let nobody = "01890a5d-ac96-774b-bcce-b302099a8057";
    for line in
        [&["cert", "show", nobody][..], &["cert", "revoke", nobody], &["cert", "confirm", nobody]]
    {
        without_trace(&ca, line, &["not found", "sluice cert list"]);
    }
    without_trace(&ca, &["cert", "show", "pump-1"], &["fingerprint"]);
    without_trace(&ca, &["cert", "revoke", nobody, "--reason", "boredom"], &["keyCompromise"]);
    let output = crate::commands::registry::sluice(
        &ca.database.url(),
        &[],
        "",
        &["cert", "issue", TENANT, NAME, "--new-key", "--key-out", "-"],
    );
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("DEVICE_CA_CERT_PATH"), "{output:?}");
}
