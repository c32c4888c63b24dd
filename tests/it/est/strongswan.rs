//! strongSwan's EST client: it has TLS, HTTP and PKCS#7 of its own.

use std::process::{Command, Output};

use super::est_daemon::EstDaemon;
use crate::support::process::find_program;

/// Runs `pki` in the directory of the files.
fn pki(est: &EstDaemon, arguments: &[&str]) -> Output {
    let program = find_program("pki").expect("strongswan-pki is installed: scripts/test does it");
    Command::new(program).args(arguments).current_dir(est.ca.openssl.dir.path()).output().unwrap()
}

/// Keeps the certificate that it printed as `<name>.crt`.
fn kept(est: &EstDaemon, output: &Output, name: &str) {
    assert!(output.status.success(), "{output:?}");
    est.ca.openssl.dir.write(&format!("{name}.crt"), &output.stdout);
    est.ca.openssl.done(&format!("verify -CAfile ca.crt -purpose sslclient {name}.crt"));
}

#[test]
fn its_client_gets_the_authority_a_first_certificate_and_a_second_one() {
    let est = EstDaemon::start();
    let url = format!("https://localhost:{}", est.port);
    let authority = pki(
        &est,
        &[
            "--estca",
            "--url",
            &url,
            "--cacert",
            "est.crt",
            "--caout",
            "fetched",
            "--outform",
            "pem",
        ],
    );
    assert!(authority.status.success(), "{authority:?}");
    // It adds the kind of the authority to the name.
    let mut names = std::fs::read_dir(est.ca.openssl.dir.path()).unwrap();
    let is_fetched = |name: &str| name.starts_with("fetched");
    let fetched = names.find_map(|file| {
        let name = file.unwrap().file_name().into_string().unwrap();
        is_fetched(&name).then_some(name)
    });
    let fetched = est.ca.openssl.read(&fetched.expect("the authority is kept"));
    assert_eq!(fetched.trim_ascii(), est.ca.openssl.read("ca.crt").trim_ascii());

    let code = est.code(&["--device", "pump-3"]);
    est.ca.request("pump-3", "/CN=acme\\/device\\/pump-3");
    est.ca.openssl.done("req -in pump-3.csr -outform DER -out pump-3.der");
    let enrol = |more: &[&str]| {
        let fixed = [
            "--est",
            "--url",
            &url,
            "--in",
            "pump-3.der",
            "--cacert",
            "est.crt",
            "--cacert",
            "ca.crt",
            "--outform",
            "pem",
        ];
        pki(&est, &[&fixed, more].concat())
    };
    let login = format!("acme/device/pump-3:{code}");
    kept(&est, &enrol(&["--userpass", &login]), "pump-3");
    est.ca.request("other", "/CN=acme\\/device\\/pump-3");
    est.ca.openssl.done("req -in other.csr -outform DER -out pump-3.der");
    let used = enrol(&["--userpass", &login]);
    assert!(!used.status.success(), "the code is used up: {used:?}");
    assert_eq!(est.certificates("pump-3"), "1");

    let own = ["--cert", "pump-3.crt", "--key", "pump-3.key"];
    kept(&est, &enrol(&own), "other");
    assert_eq!(est.certificates("pump-3"), "2");
    let id = "SELECT id FROM device_certificates WHERE replaces IS NULL";
    est.ca.done(&["cert", "revoke", &est.ca.database.value(id)]);
    est.ca.request("third", "/CN=acme\\/device\\/pump-3");
    est.ca.openssl.done("req -in third.csr -outform DER -out pump-3.der");
    let revoked = enrol(&own);
    assert!(!revoked.status.success(), "{revoked:?}");
    assert_eq!(est.certificates("pump-3"), "2");
}
