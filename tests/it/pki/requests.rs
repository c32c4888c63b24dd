//! Requests as devices make them with OpenSSL: RSA of each size, another's name, a name that was
//! cut.

use sluice::pki::authority::sign;
use sluice::pki::request::csr::{Request, RequestError};
use sluice::pki::request::public_key::KeyKind;

use super::openssl::{OpensslDir, device, plan};

fn read(openssl: &OpensslDir) -> Result<Request, RequestError> {
    Request::read(&openssl.read("dev.csr"), &device())
}

#[test]
fn rsa_is_accepted_from_2048_to_4096_bits() {
    let openssl = OpensslDir::new();
    for (bits, kind) in
        [(1024, None), (2047, None), (2048, Some(2048)), (4096, Some(4096)), (4104, None)]
    {
        openssl
            .done(&format!("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:{bits} -out dev.key"));
        openssl.done(r"req -new -key dev.key -subj /CN=acme\/device\/pump:1 -out dev.csr");
        match (read(&openssl), kind) {
            (Ok(request), Some(bits)) => assert_eq!(request.key_kind(), KeyKind::Rsa { bits }),
            (Err(error), None) => {
                assert!(error.to_string().contains(&format!("{bits} bits")), "{error}");
            }
            (read, _) => panic!("{bits} bits: {read:?}"),
        }
    }
}

#[test]
fn rsa_with_the_exponent_three_and_curves_that_are_not_ours_are_refused() {
    let openssl = OpensslDir::new();
    let keys = [
        (
            "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:3 -out dev.key",
            "exponent",
        ),
        ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out dev.key", "not accepted"),
        ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 -out dev.key", "not accepted"),
        ("genpkey -algorithm ED448 -out dev.key", "not accepted"),
    ];
    for (make, word) in keys {
        openssl.done(make);
        openssl.done("req -new -key dev.key -subj / -out dev.csr");
        let said = read(&openssl).unwrap_err().to_string();
        assert!(said.contains(word), "{make}: {said}");
    }
}

#[test]
fn a_request_over_sha1_is_refused_and_pss_is_understood() {
    let openssl = OpensslDir::new();
    openssl.done("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out dev.key");
    openssl.done("req -new -key dev.key -sha1 -subj / -out dev.csr");
    assert_eq!(read(&openssl).unwrap_err(), RequestError::SignatureAlgorithm);
    openssl.done("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out dev.key");
    openssl.done("req -new -key dev.key -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest -subj / -out dev.csr");
    assert!(read(&openssl).is_ok());
}

#[test]
fn a_name_that_openssl_cut_at_a_slash_is_refused_with_both_names() {
    let openssl = OpensslDir::new();
    openssl.done("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out dev.key");
    openssl.done("req -new -key dev.key -subj /CN=acme/device/O=Acme -out dev.csr");
    let said = read(&openssl).unwrap_err().to_string();
    assert!(said.contains("\"acme\"") && said.contains("acme/device/pump:1"), "{said}");
}

#[test]
fn a_signed_request_gets_a_certificate_for_its_own_key() {
    let openssl = OpensslDir::new();
    let authority = openssl.founded();
    for algorithm in
        ["ED25519", "RSA -pkeyopt rsa_keygen_bits:2048", "EC -pkeyopt ec_paramgen_curve:P-384"]
    {
        openssl.done(&format!("genpkey -algorithm {algorithm} -out dev.key"));
        openssl.done(r"req -new -key dev.key -subj /CN=acme\/device\/pump:1 -out dev.csr");
        let certificate =
            sign::sign(&authority, &plan(&authority), &read(&openssl).unwrap()).unwrap();
        openssl.dir.write("dev.crt", certificate.to_pem());
        openssl.done("verify -x509_strict -purpose sslclient -CAfile ca.crt dev.crt");
        let keys = [
            openssl.done("x509 -in dev.crt -noout -pubkey"),
            openssl.done("pkey -in dev.key -pubout"),
        ];
        assert_eq!(keys[0], keys[1]);
    }
}
