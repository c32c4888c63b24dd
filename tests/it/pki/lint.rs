//! pkilint, which is not ours and knows RFC 5280 better, finds no error in what Sluice signs.
//!
//! With one exception, which is shown to be none: it takes every URN for a bad URL, also one that
//! RFC 9562 prints.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Once;

use sluice::clock;
use sluice::pki::authority::broker_certificate;
use sluice::pki::authority::sign;
use sluice::pki::crl::{CrlEntry, RevocationReason};
use sluice::pki::request::csr::Request;
use sluice::pki::request::identity;
use sluice::pki::serial::Serial;

use super::openssl::{OpensslDir, device, plan};

static INSTALLED: Once = Once::new();
/// Where `tests/pkilint.sh` puts it; `scripts/test` has called it already.
const PKILINT: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/pkilint");

fn lint(openssl: &OpensslDir, line: &str) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pkilint.sh");
    INSTALLED.call_once(|| {
        let output = Command::new(script).arg(PKILINT).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    });
    let mut words = line.split(' ');
    let program = Path::new(PKILINT).join("bin").join(words.next().unwrap());
    Command::new(program).args(words).current_dir(openssl.dir.path()).output().unwrap()
}

/// What it finds, a line each; nothing about a file is success.
fn findings(openssl: &OpensslDir, line: &str) -> Vec<String> {
    let output = lint(openssl, line);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.stderr.is_empty() && output.status.success() == said.trim().is_empty(),
        "{line}: {output:?}"
    );
    said.lines().filter(|line| line.starts_with(' ')).map(|line| line.trim().to_owned()).collect()
}

fn is_clean(openssl: &OpensslDir, line: &str) {
    assert_eq!(findings(openssl, line), [""; 0], "{line}");
}

/// A device's certificate: nothing but what it says of every URN.
fn is_clean_but_for_its_urn(openssl: &OpensslDir, line: &str) {
    assert_eq!(findings(openssl, line), [bad_urn(&identity::urn(&device()))], "{line}");
}

fn bad_urn(urn: &str) -> String {
    format!("pkix.invalid_uri_syntax (ERROR): Invalid URI syntax: \"{urn}\"")
}

const CERTIFICATE: &str = "lint_pkix_cert lint -s WARNING";

#[test]
fn pkilint_finds_only_the_urn_in_the_certificates() {
    let openssl = OpensslDir::new();
    let authority = openssl.founded();
    is_clean(&openssl, &format!("{CERTIFICATE} ca.crt"));
    openssl.issued(&authority, "device");
    is_clean_but_for_its_urn(&openssl, &format!("{CERTIFICATE} device.crt"));
    for algorithm in ["ED25519", "RSA -pkeyopt rsa_keygen_bits:2048"] {
        openssl.done(&format!("genpkey -algorithm {algorithm} -out dev.key"));
        openssl.done("req -new -key dev.key -subj / -out dev.csr");
        let request = Request::read(&openssl.read("dev.csr"), &device()).unwrap();
        openssl.dir.write(
            "dev.crt",
            sign::sign(&authority, &plan(&authority), &request).unwrap().to_pem(),
        );
        is_clean_but_for_its_urn(&openssl, &format!("{CERTIFICATE} dev.crt"));
    }
    let names = ["broker.example.org".parse().unwrap(), "192.0.2.7".parse().unwrap()];
    let (server, _) = broker_certificate::sign_server(
        &authority,
        &names,
        &Serial::random().unwrap(),
        825,
        clock::now(),
    )
    .unwrap();
    openssl.dir.write("server.crt", server.to_pem());
    is_clean(&openssl, &format!("{CERTIFICATE} server.crt"));
}

#[test]
fn pkilint_finds_nothing_in_an_empty_crl_and_in_one_with_every_reason() {
    let openssl = OpensslDir::new();
    let authority = openssl.founded();
    openssl.published(&authority, 1, &[]);
    is_clean(&openssl, "lint_crl lint -t CRL -p PKIX -s WARNING crl.pem");
    let revoked = RevocationReason::ALL.map(|reason| CrlEntry {
        serial: Serial::random().unwrap(),
        revoked_at: clock::now(),
        reason,
    });
    openssl.published(&authority, 2, &revoked);
    is_clean(&openssl, "lint_crl lint -t CRL -p PKIX -s WARNING crl.pem");
}

#[test]
fn pkilint_calls_every_urn_wrong_and_finds_what_is_wrong_indeed() {
    let openssl = OpensslDir::new();
    let urn = "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6";
    openssl.done("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ca.key");
    openssl.done(&format!(
        "req -x509 -new -key ca.key -days 30 -subj /CN=x -addext subjectAltName=URI:{urn} -addext basicConstraints=CA:TRUE -out ca.crt"
    ));
    let found = findings(&openssl, "lint_pkix_cert lint -s ERROR ca.crt");
    assert!(found.contains(&bad_urn(urn)), "{found:?}");
    assert!(found.iter().any(|finding| finding.contains("ca_certificate")), "{found:?}");
}
