//! Keys from an endpoint with TLS: OpenSSL's server, with a certificate of an authority that
//! is or is not trusted.

use std::path::{Path, PathBuf};
use std::process::Command;

use sluice::access::tokens::error::TokenError;
use sluice::config::sections::issuer::IssuerKeySource;

use super::pyjwt::{ISSUER, made};
use super::verifier::{TokenVerifier, issuer};
use crate::support::dir::Scratch;
use crate::support::port;
use crate::support::process::{Launch, Process, find_program, run_to_end};
use crate::support::wait;

/// An authority, and a server with a certificate of it.
struct Endpoint {
    dir: Scratch,
    port: u16,
    server: Process,
}

// === impl Endpoint ===

impl Endpoint {
    fn start() -> Self {
        let (dir, port) = (Scratch::new("endpoint"), port::free());
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        dir.write("extensions", "subjectAltName=IP:127.0.0.1\n");
        for line in [
            format!("req -x509 {key} -subj /CN=authority -days 2 -keyout ca.key -out ca.crt"),
            format!("req {key} -subj /CN=server -keyout server.key -out server.csr"),
            "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out server.crt"
                .to_owned(),
        ] {
            run_to_end(Command::new("openssl").args(line.split(' ')).current_dir(dir.path()));
        }
        // It sends the file as it is, status line included.
        dir.write("certs", [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), made().read("old.jwks")].concat());
        let line =
            format!("s_server -accept 127.0.0.1:{port} -cert server.crt -key server.key -HTTP");
        let server = Process::start(Launch {
            name: "openssl",
            program: &find_program("openssl").unwrap(),
            args: line.split(' ').map(str::to_owned).collect(),
            envs: Vec::new(),
            log: &dir.path().join("log"),
            dir: dir.path(),
            account: None,
            parting: "TERM",
        });
        wait::until("it listens", || server.log().contains("ACCEPT"));
        Self { dir, port, server }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn verifier(&self, ca_cert: Option<&Path>) -> TokenVerifier {
        let url = format!("https://127.0.0.1:{}/certs", self.port);
        TokenVerifier::new(vec![issuer(IssuerKeySource::Url {
            url,
            ca_cert: ca_cert.map(Path::to_owned),
        })])
    }
}

#[test]
fn keys_come_over_tls_from_a_server_whose_authority_is_trusted() {
    let endpoint = Endpoint::start();
    let verifier = endpoint.verifier(Some(&endpoint.path("ca.crt")));
    wait::until("the token is accepted", || verifier.log_in("rs256").is_ok());
}

#[test]
fn no_keys_come_from_a_server_whose_ca_is_untrusted_or_unreadable() {
    let endpoint = Endpoint::start();
    for ca_cert in
        [None, Some("server.key"), Some("missing")].map(|name| name.map(|name| endpoint.path(name)))
    {
        let verifier = endpoint.verifier(ca_cert.as_deref());
        // The first login waits until the attempt has ended.
        assert_eq!(
            verifier.log_in("rs256"),
            Err(TokenError::KeysAway { issuer: ISSUER.into() }),
            "{ca_cert:?}"
        );
        assert_eq!(verifier.age(), -1);
    }
    assert!(!endpoint.server.log().contains("FILE:certs"), "nobody asked for the keys");
}
