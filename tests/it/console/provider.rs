//! A person signs in by an identity provider that is not ours: a process of its own, with its own
//! keys. It does not check the code's challenge, so the test compares the challenge itself.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sluice::domain::token::TokenHash;

use super::browser::{Browser, between, encoded};
use crate::api::client::builder;
use crate::support::dir::Scratch;
use crate::support::port;
use crate::support::process::{Launch, Process, run_to_end};
use crate::support::wait;

/// Where `tests/oidc.sh` puts it; `scripts/test` has called it already.
const PLACE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/oidc");

struct Provider {
    port: u16,
    _process: Process,
    _dir: Scratch,
}

impl Provider {
    fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oidc.sh");
        run_to_end(Command::new(script).arg(PLACE));
        let (port, dir) = (port::free(), Scratch::new("oidc"));
        let people = [
            json!({ "sub": "7", "preferred_username": "alice", "groups": ["/ops", "staff"] }),
            json!({ "sub": "8", "preferred_username": "bob", "groups": ["staff"] }),
        ];
        let mut args =
            vec!["-m".to_owned(), "oidc_provider_mock".to_owned(), "--require-nonce".to_owned()];
        args.extend(["--port".to_owned(), port.to_string()]);
        args.extend(
            people.iter().flat_map(|person| ["--user-claims".to_owned(), person.to_string()]),
        );
        let process = Process::start(Launch {
            name: "the identity provider",
            program: &Path::new(PLACE).join("bin/python"),
            args,
            envs: Vec::new(),
            log: &dir.path().join("log"),
            dir: dir.path(),
            account: None,
            parting: "TERM",
        });
        wait::until("the provider listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { port, _process: process, _dir: dir }
    }

    fn issuer(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// What a person does there: chooses an account. Returns where the browser is sent.
    fn choose(&self, target: &str, sub: &str) -> String {
        let path = target.strip_prefix(&self.issuer()).unwrap_or_else(|| panic!("{target}"));
        let headers = format!(
            "Host: localhost:{}\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n",
            self.port
        );
        let body = format!("sub={sub}");
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\n{headers}Content-Length: {length}\r\n\r\n");
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let back = between(&answer, "Location: ", "\r\n").unwrap_or_else(|| panic!("{answer}"));
        back.to_owned()
    }
}

#[test]
fn a_person_signs_in_by_an_identity_provider() {
    let provider = Provider::start();
    let own = port::free();
    let url = format!("http://localhost:{own}");
    let it = builder()
        .database()
        .set("HTTP_BIND", &format!("127.0.0.1:{own}"))
        .set("JWT_ISSUER", &provider.issuer())
        .set("JWT_AUDIENCE", "another-program")
        .set("JWT_JWKS_URL", &format!("{}/jwks", provider.issuer()))
        .set("JWT_GROUP_CLAIMS", "groups")
        .set("CONSOLE_URL", &url)
        .set("CONSOLE_OIDC_ISSUER", &provider.issuer())
        .set("CONSOLE_OIDC_CLIENT_ID", "sluice-console")
        .set("CONSOLE_OIDC_CLIENT_SECRET", "the-secret-of-the-console")
        .set("CONSOLE_GROUP_ROLES", "ops=operator")
        .start();
    let browser = Browser::new(it.listening("HTTP_BIND"));
    assert!(browser.get("/console/login").page().contains("Sign in with http://localhost"));
    let begin = |browser: &Browser| {
        let answer = browser.get("/console/login/provider");
        assert_eq!(answer.status, 303, "{}\n{}", answer.text(), it.daemon.log());
        let cookie = browser.cookie("sluice_login").unwrap();
        let target = answer.header("location").unwrap();
        // A challenge has upper case: it is computed from the cookie again.
        let [state, nonce, verifier] = cookie.split('.').collect::<Vec<_>>()[..] else {
            panic!("{cookie}")
        };
        let challenge = URL_SAFE_NO_PAD.encode(TokenHash::of(verifier).0);
        for part in [
            format!("state={state}"),
            format!("nonce={nonce}"),
            format!("code_challenge={}", challenge.to_lowercase()),
            format!(
                "redirect_uri={}",
                encoded(&format!("{url}/console/login/return")).to_lowercase()
            ),
        ] {
            assert!(target.contains(&part), "{part} is missing from {target}");
        }
        target.replace(&challenge.to_lowercase(), &challenge).replace("s256", "S256")
    };
    let path = |back: &str| back.strip_prefix(&url).unwrap_or_else(|| panic!("{back}")).to_owned();

    let back = path(&provider.choose(&begin(&browser), "7"));
    // In another browser the answer opens nothing.
    let other = Browser::new(browser.port);
    assert_eq!(other.get(&back).status, 502);
    begin(&other);
    assert_eq!(other.get(&back).status, 502);
    let opened = browser.get(&back);
    assert_eq!(opened.redirected(), "/console", "{}", it.daemon.log());
    assert_eq!(browser.cookie("sluice_login"), None);
    let me = browser.api("GET", "/me", None).ok(200);
    assert_eq!((&me["actor"], &me["role"]), (&json!("console:alice"), &json!("operator")));
    // The code is used up.
    begin(&browser);
    assert_eq!(browser.get(&back).status, 502);

    let stranger = Browser::new(browser.port);
    let back = path(&provider.choose(&begin(&stranger), "8"));
    let refused = stranger.get(&back);
    assert_eq!((refused.status, stranger.cookie("sluice_session")), (403, None));
    assert!(refused.text().contains("bob has no role here"), "{}", refused.text());
    let log = it.daemon.log();
    assert!(!log.contains("the-secret-of-the-console"), "a secret");
}
