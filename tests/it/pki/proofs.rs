//! The proof of a renewal, made by OpenSSL as a device makes it, with every kind of key.

use sluice::domain::ids::DeviceKey;
use sluice::pki::authority::sign;
use sluice::pki::certificate::Certificate;
use sluice::pki::request::csr::{Request, der_of};
use sluice::pki::request::proof::{ProofError, statement, verify};

use super::openssl::{OpensslDir, device, plan};

/// Kinds of keys, and how OpenSSL signs with each.
const KINDS: [(&str, &[&str]); 4] = [
    ("EC -pkeyopt ec_paramgen_curve:P-256", &["dgst -sha256 -sign"]),
    ("EC -pkeyopt ec_paramgen_curve:P-384", &["dgst -sha256 -sign", "dgst -sha384 -sign"]),
    (
        "RSA -pkeyopt rsa_keygen_bits:2048",
        &[
            "dgst -sha256 -sign",
            "dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:-1 -sign",
        ],
    ),
    ("ED25519", &["pkeyutl -rawin -sign -inkey"]),
];

fn certificate_of(openssl: &OpensslDir, kind: &str) -> Certificate {
    openssl.done(&format!("genpkey -algorithm {kind} -out old.key"));
    openssl.done("req -new -key old.key -subj / -out old.csr");
    let authority = openssl.founded();
    let request = Request::read(&openssl.read("old.csr"), &device()).unwrap();
    sign::sign(&authority, &plan(&authority), &request).unwrap()
}

#[test]
fn what_openssl_signs_with_the_current_key_is_a_proof() {
    let openssl = OpensslDir::new();
    openssl.done("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out new.key");
    openssl.done("req -new -key new.key -subj / -out new.csr");
    let request = openssl.read("new.csr");
    let text = statement(&device(), &der_of(&request).unwrap());
    openssl.dir.write("statement", &text);
    let other = statement(&DeviceKey::new("acme", "pump:2").unwrap(), &der_of(&request).unwrap());
    for (kind, ways) in KINDS {
        let certificate = certificate_of(&openssl, kind);
        for way in ways {
            let input = if way.starts_with("pkeyutl") { "-in statement" } else { "statement" };
            openssl.done(&format!("{way} old.key -out proof {input}"));
            let proof = openssl.read("proof");
            assert_eq!(verify(&certificate, &text, &proof), Ok(()), "{kind}: {way}");
            assert_eq!(verify(&certificate, &other, &proof), Err(ProofError::Wrong));
        }
        openssl.done("dgst -sha256 -sign new.key -out proof statement");
        assert_eq!(
            verify(&certificate, &text, &openssl.read("proof")),
            Err(ProofError::Wrong),
            "{kind}: by the key of the request"
        );
    }
}
