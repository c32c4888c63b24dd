//! OpenSSL verifies what Sluice signs, with keys of each kind, before and after a revocation.

use sluice::clock;
use sluice::pki::authority::Authority;
use sluice::pki::authority::broker_certificate;
use sluice::pki::crl::{Crl, CrlEntry, RevocationReason};
use sluice::pki::request::import;
use sluice::pki::serial::Serial;

use super::openssl::{OpensslDir, device};

const VERIFY: &str =
    "verify -x509_strict -purpose sslclient -crl_check -CAfile ca.crt -CRLfile crl.pem";

/// A certificate passes until it stands in the list; the other one passes after that too.
fn it_is_verified_until_it_is_revoked(openssl: &OpensslDir, authority: &Authority) {
    openssl.published(authority, 1, &[]);
    let doomed = openssl.issued(authority, "doomed");
    openssl.issued(authority, "other");
    openssl.done(&format!("{VERIFY} doomed.crt"));
    openssl.done(&format!("{VERIFY} other.crt"));
    let reason = RevocationReason::KeyCompromise;
    let revoked = CrlEntry { serial: doomed.serial().clone(), revoked_at: clock::now(), reason };
    openssl.published(authority, 2, &[revoked]);
    assert!(openssl.refused(&format!("{VERIFY} doomed.crt")).contains("certificate revoked"));
    openssl.done(&format!("{VERIFY} other.crt"));
    let said = openssl.done("crl -in crl.pem -noout -verify -CAfile ca.crt -text");
    for word in [
        "verify OK",
        "Version 2",
        "X509v3 CRL Number",
        "Authority Key Identifier",
        "Key Compromise",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn openssl_verifies_certificates_and_lists_of_a_new_authority() {
    let openssl = OpensslDir::new();
    let authority = openssl.founded();
    it_is_verified_until_it_is_revoked(&openssl, &authority);
    let text = openssl.done("x509 -in other.crt -noout -text -nameopt RFC2253");
    for word in [
        "Version: 3",
        "Subject: CN=acme/device/pump:1",
        "URI:urn:sluice:acme:pump%3A1",
        "X509v3 Basic Constraints: critical\n                CA:FALSE",
        "X509v3 Key Usage: critical\n                Digital Signature\n",
        "TLS Web Client Authentication\n",
        "X509v3 Authority Key Identifier",
        "X509v3 Subject Key Identifier",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let keys = [
        openssl.done("x509 -in other.crt -noout -pubkey"),
        openssl.done("pkey -in other.key -pubout"),
    ];
    assert_eq!(keys[0], keys[1], "the key that was handed out is the certificate's");
}

#[test]
fn an_openssl_authority_signs_with_each_kind_of_key_and_file_format() {
    let forms = [
        ("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out ca.key", "PKCS#8, RSA 2048"),
        ("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:4096 -out ca.key", "PKCS#8, RSA 4096"),
        ("genrsa -traditional -out ca.key 3072", "PKCS#1"),
        ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out ca.key", "PKCS#8, P-384"),
        ("ecparam -name prime256v1 -genkey -out ca.key", "SEC1, with the curve before it"),
    ];
    for (make, form) in forms {
        let openssl = OpensslDir::new();
        openssl.done(make);
        openssl.done(
            "req -x509 -new -key ca.key -days 30 -subj /C=SE/O=Acme/CN=Old -addext keyUsage=critical,keyCertSign,cRLSign -out ca.crt",
        );
        openssl.dir.write("form", form);
        it_is_verified_until_it_is_revoked(&openssl, &openssl.opened());
    }
}

#[test]
fn a_list_that_openssl_made_is_read_with_its_reasons() {
    let openssl = OpensslDir::new();
    let authority = old_authority(&openssl);
    openssl.dir.write(
        "conf",
        "[ca]\ndefault_ca=d\n[d]\ndatabase=db\ncrlnumber=num\ndefault_md=sha256\n[x]\nauthorityKeyIdentifier=keyid\n",
    );
    openssl.dir.write("db", "R\t350101000000Z\t260101000000Z,superseded\t0A1B\tunknown\t/CN=x\nR\t350101000000Z\t260101000000Z\t7F\tunknown\t/CN=y\n");
    openssl.dir.write("num", "2a\n");
    openssl.done(
        "ca -config conf -gencrl -keyfile ca.key -cert ca.crt -crldays 7 -crlexts x -out crl.pem",
    );
    let list = Crl::read(&openssl.read("crl.pem"), authority.certificate()).unwrap();
    let entries: Vec<_> =
        list.entries().iter().map(|entry| (entry.serial.to_string(), entry.reason)).collect();
    let expected = [("0a1b", RevocationReason::Superseded), ("7f", RevocationReason::Unspecified)];
    assert_eq!(entries, expected.map(|(serial, reason)| (serial.to_owned(), reason)));
    assert_eq!(list.number(), 0x2a);
}

#[test]
fn an_openssl_certificate_can_be_imported_unless_it_is_signed_with_sha1() {
    let openssl = OpensslDir::new();
    let authority = old_authority(&openssl);
    openssl.done("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out dev.key");
    openssl.done(r"req -new -key dev.key -subj /O=Acme/CN=acme\/pump:1 -out dev.csr");
    for (hash, is_good) in [("sha256", true), ("sha1", false)] {
        openssl.done(&format!(
            "x509 -req -in dev.csr -CA ca.crt -CAkey ca.key -set_serial 99 -{hash} -out dev.crt"
        ));
        let certificate =
            sluice::pki::certificate::Certificate::from_pem(&openssl.read("dev.crt")).unwrap();
        let judged = import::judge(&certificate, authority.certificate(), clock::now());
        assert_eq!(judged.ok(), is_good.then(device), "{hash}");
        let fingerprint = openssl
            .done("x509 -in dev.crt -noout -fingerprint -sha256")
            .to_lowercase()
            .replace(':', "");
        assert!(
            fingerprint.trim().ends_with(&certificate.fingerprint().to_string()),
            "{fingerprint}"
        );
        assert_eq!(certificate.serial().to_string(), "63");
    }
}

#[test]
fn the_brokers_certificate_is_good_for_its_names_and_for_no_others() {
    let openssl = OpensslDir::new();
    let authority = openssl.founded();
    let names = ["broker.example.org".parse().unwrap(), "192.0.2.7".parse().unwrap()];
    let serial = Serial::random().unwrap();
    let (certificate, _) =
        broker_certificate::sign_server(&authority, &names, &serial, 825, clock::now()).unwrap();
    openssl.dir.write("server.crt", certificate.to_pem());
    let verify = "verify -x509_strict -purpose sslserver -CAfile ca.crt";
    openssl.done(&format!("{verify} -verify_hostname broker.example.org server.crt"));
    openssl.done(&format!("{verify} -verify_ip 192.0.2.7 server.crt"));
    openssl.refused(&format!("{verify} -verify_hostname other.example.org server.crt"));
    openssl.refused("verify -purpose sslclient -CAfile ca.crt server.crt");
}

#[test]
fn an_authority_whose_name_cannot_be_written_is_refused_before_it_signs() {
    let openssl = OpensslDir::new();
    openssl.done("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ca.key");
    let make = "req -x509 -new -key ca.key -days 30 -addext keyUsage=critical,keyCertSign,cRLSign -out ca.crt -subj";
    for (subject, is_good) in
        [("/DC=org/CN=x", true), ("/DC=org/DC=example/CN=x", false), ("/CN=x+OU=y", false)]
    {
        openssl.done(&format!("{make} {subject} -multivalue-rdn"));
        let path = |name| openssl.dir.path().join(name);
        let opened = Authority::open(&path("ca.crt"), &path("ca.key"), clock::now());
        assert_eq!(opened.is_ok(), is_good, "{subject}: {opened:?}");
    }
}

/// An authority as scripts make them: RSA 2048, in `ca.crt` and `ca.key`.
fn old_authority(openssl: &OpensslDir) -> Authority {
    openssl.done("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out ca.key");
    openssl.done(
        "req -x509 -new -key ca.key -days 30 -subj /CN=Old -addext keyUsage=critical,keyCertSign,cRLSign -out ca.crt",
    );
    openssl.opened()
}
