//! Certificates are issued and imported: OpenSSL verifies what leaves, and the registry knows what
//! the world has.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::ca_fixture::{CaFixture, NAME, TENANT, id};

#[test]
fn a_request_gets_a_registered_certificate_that_openssl_verifies() {
    let ca = CaFixture::new();
    let said = ca.issued("dev");
    ca.openssl.dir.write("dev.crt", said["cert_pem"].as_str().unwrap());
    ca.openssl.done("verify -x509_strict -purpose sslclient -CAfile ca.crt dev.crt");
    let text = ca
        .openssl
        .done("x509 -in dev.crt -noout -subject -fingerprint -sha256 -ext subjectAltName");
    assert!(
        text.contains("CN = acme/device/pump-1") && text.contains("URI:urn:sluice:acme:pump-1"),
        "{text}"
    );
    let fingerprint = text.split("Fingerprint=").nth(1).unwrap().split_whitespace().next().unwrap();
    let shown = ca.done(&["cert", "show", fingerprint]);
    assert_eq!((id(&shown), &shown["status"]), (id(&said), &"ACTIVE".into()));
    assert_eq!(shown["cert_pem"], said["cert_pem"]);
    let pem = ca.run(&["cert", "show", id(&said), "--pem"], "");
    assert_eq!(String::from_utf8(pem.stdout).unwrap(), said["cert_pem"].as_str().unwrap());
    let reserved = "SELECT count(*) FROM certificate_serials s JOIN device_certificates c USING (issuer, serial_number) \
        WHERE s.reserved_at < c.created_at";
    assert_eq!(ca.database.value(reserved), "1");
    assert_eq!(ca.audited(), ["cli:alice certificate.issue pump-1"]);
}

#[test]
fn a_request_is_read_from_stdin_and_the_certificate_goes_to_its_file() {
    let ca = CaFixture::new();
    ca.request("dev", r"/CN=acme\/device\/pump-1");
    let request = String::from_utf8(ca.openssl.read("dev.csr")).unwrap();
    let out = ca.path("dev.crt");
    let line = ["cert", "issue", TENANT, NAME, "--csr", "-", "--out", &out, "--days", "30"];
    let output = ca.run(&line, &request);
    assert!(output.status.success(), "{output:?}");
    ca.openssl.done("verify -x509_strict -purpose sslclient -CAfile ca.crt dev.crt");
    let again = ca.run(&line, &request);
    assert_eq!(again.status.code(), Some(64), "{again:?}");
    assert!(String::from_utf8_lossy(&again.stderr).contains("nothing was issued"), "{again:?}");
    let days = "SELECT round(extract(epoch FROM not_after - now()) / 86400), count(*) OVER () FROM device_certificates";
    assert_eq!(ca.database.query(days), [["30", "1"]]);
}

#[test]
fn a_key_made_here_goes_to_its_file_and_nowhere_else() {
    let ca = CaFixture::new();
    let (key, out) = (ca.path("dev.key"), ca.path("dev.crt"));
    let line = ["cert", "issue", TENANT, NAME, "--new-key", "--key-out", &key, "--out", &out];
    let output = ca.run(&line, "");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let keys = [
        ca.openssl.done("x509 -in dev.crt -noout -pubkey"),
        ca.openssl.done("pkey -in dev.key -pubout"),
    ];
    assert_eq!(keys[0], keys[1]);
    ca.openssl.done("verify -x509_strict -purpose sslclient -CAfile ca.crt dev.crt");

    let secret = String::from_utf8(ca.openssl.read("dev.key")).unwrap();
    let secret = secret.lines().nth(1).unwrap();
    assert!(!format!("{output:?}").contains(secret));
    for table in ["device_certificates", "certificate_serials", "audit_log"] {
        let rows = ca.database.value(&format!(
            "SELECT count(*) FROM {table} t WHERE strpos(t::text, '{secret}') > 0"
        ));
        assert_eq!(rows, "0", "{table}");
    }
    // The key's file stays as it is, and no certificate is issued for a key that has nowhere to go.
    let before = ca.openssl.read("dev.key");
    assert!(ca.refused(&line).contains("nothing was issued"));
    assert_eq!(ca.openssl.read("dev.key"), before);
    assert_eq!(ca.database.value("SELECT count(*) FROM certificate_serials"), "1");
    // Printed only on request.
    let printed = ca.done(&["cert", "issue", TENANT, NAME, "--new-key", "--key-out", "-"]);
    assert!(printed["private_key"].as_str().unwrap().contains("BEGIN PRIVATE KEY"));
    assert!(ca.refused(&["cert", "issue", TENANT, NAME, "--new-key"]).contains("--key-out"));
}

#[test]
fn a_serial_number_is_recorded_also_when_its_certificate_is_not_stored() {
    let ca = CaFixture::new();
    ca.database.query(
        "ALTER TABLE device_certificates ADD CONSTRAINT full_disk CHECK (device_id <> 'pump-2')",
    );
    let key = ca.path("new.key");
    let output = ca.run(&["cert", "issue", TENANT, "pump-2", "--new-key", "--key-out", &key], "");
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(output.stdout.is_empty() && fs::metadata(&key).is_err(), "nothing left: {output:?}");
    let reserved = "SELECT device_id, length(serial_number) > 24 FROM certificate_serials";
    assert_eq!(ca.database.query(reserved), [["pump-2", "t"]]);
    assert!(ca.audited().is_empty());
}

#[test]
fn a_refused_order_leaves_no_empty_file() {
    let ca = CaFixture::new();
    let (key, out) = (ca.path("new.key"), ca.path("new.crt"));
    let line = ["cert", "issue", TENANT, "nobody", "--new-key", "--key-out", &key, "--out", &out];
    assert!(ca.refused(&line).contains("sluice device add acme nobody"));
    assert!(fs::metadata(&key).is_err() && fs::metadata(&out).is_err());
}

/// Signs a request with the authority's key by OpenSSL; the path of the certificate.
fn signed_elsewhere(ca: &CaFixture, name: &str, subject: &str) -> String {
    numbered(ca, name, subject, "-CAcreateserial")
}

/// The same with a serial number, as OpenSSL's option says it.
fn numbered(ca: &CaFixture, name: &str, subject: &str, number: &str) -> String {
    ca.request(name, subject);
    ca.openssl.dir.write("client.ext", "extendedKeyUsage = clientAuth\n");
    let sign = format!("x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key {number}");
    let line = format!("{sign} -days 30 -extfile client.ext -out {name}.crt");
    ca.openssl.done(&line);
    ca.path(&format!("{name}.crt"))
}

#[test]
fn certificates_from_elsewhere_are_taken_in_with_both_forms_of_the_name() {
    let ca = CaFixture::new();
    for (name, subject) in [("strict", r"/CN=acme\/device\/pump-1"), ("plain", r"/CN=acme\/pump-1")]
    {
        let file = signed_elsewhere(&ca, name, subject);
        let said = ca.done(&["cert", "import", &file, "--device", "acme/pump-1"]);
        assert_eq!((&said["device_id"], &said["status"]), (&"pump-1".into(), &"ACTIVE".into()));
        let again = ca.refused(&["cert", "import", &file]);
        assert!(
            again.contains("already") && again.contains(id(&said)) && again.contains("acme/pump-1"),
            "{again}"
        );
    }
    assert_eq!(ca.database.value("SELECT count(*) FROM device_certificates"), "2");
    assert_eq!(ca.audited(), ["cli:alice certificate.import pump-1"; 2]);
}

#[test]
fn two_certificates_of_one_number_are_not_both_taken_in() {
    let ca = CaFixture::new();
    let [one, other] =
        ["one", "other"].map(|name| numbered(&ca, name, r"/CN=acme\/pump-1", "-set_serial 0x0a5d"));
    assert_eq!(ca.done(&["cert", "import", &one])["serial_number"], "0a5d");
    let said = ca.refused(&["cert", "import", &other]);
    assert!(said.contains("serial number 0a5d") && said.contains("new one"), "{said}");
    assert_eq!(ca.database.value("SELECT count(*) FROM device_certificates"), "1");
}

#[test]
fn a_certificate_that_does_not_verify_is_not_imported() {
    let ca = CaFixture::new();
    let good = signed_elsewhere(&ca, "good", r"/CN=acme\/pump-1");
    assert!(
        ca.refused(&["cert", "import", &good, "--device", "acme/pump-2"])
            .contains("names acme/pump-1")
    );
    let stranger = signed_elsewhere(&ca, "stranger", r"/CN=acme\/device\/nobody");
    assert!(ca.refused(&["cert", "import", &stranger]).contains("sluice device add acme nobody"));
    let nameless = signed_elsewhere(&ca, "nameless", "/CN=acme");
    assert!(ca.refused(&["cert", "import", &nameless]).contains("is not the name of a device"));
    ca.request("own", r"/CN=acme\/device\/pump-1");
    ca.openssl.done("x509 -req -in own.csr -signkey own.key -days 30 -out own.crt");
    assert!(ca.refused(&["cert", "import", &ca.path("own.crt")]).contains("issued by"));
    assert!(ca.refused(&["cert", "import", &ca.path("ca.key")]).contains("no certificate"));
    assert_eq!(ca.database.value("SELECT count(*) FROM device_certificates"), "0");
    assert!(ca.audited().is_empty());
}
