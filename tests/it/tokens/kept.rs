//! How keys are kept: fetched, rotated, missed, and trusted for a limited time.

use std::net::TcpListener;
use std::time::Instant;

use sluice::access::tokens::error::TokenError;
use sluice::access::tokens::key_refresh::KEYS_LAST_SECONDS;
use sluice::config::sections::issuer::IssuerKeySource;

use super::issuer::{Answer, Issuer};
use super::pyjwt::{ISSUER, made};
use super::verifier::{TokenVerifier, issuer};
use crate::support::dir::Scratch;
use crate::support::time_bounds::{KEY_FILE_LOOKED_FOR, SILENT_ISSUER};
use crate::support::wait;

fn old() -> Answer {
    Answer::Keys(made().read("old.jwks"))
}

fn away() -> Result<sluice::access::hooks::subject::Subject, TokenError> {
    Err(TokenError::KeysAway { issuer: ISSUER.into() })
}

#[test]
fn an_unknown_key_is_fetched_once_for_all_logins_and_not_again_too_soon() {
    let endpoint = Issuer::start(old());
    let verifier = TokenVerifier::with_keys(issuer(endpoint.source()));
    assert!(verifier.verify("rs256").is_ok());
    assert_eq!(endpoint.asked(), 1);
    // The keys have just been read: an unknown key is no reason for another request yet.
    for _ in 0..1000 {
        assert_eq!(
            verifier.log_in("rotated"),
            Err(TokenError::UnknownKey { issuer: ISSUER.into() })
        );
    }
    assert_eq!(endpoint.asked(), 1);
    endpoint.answers(Answer::Keys(made().read("new.jwks")));
    wait::until("the new key is trusted at a login", || verifier.log_in("rotated").is_ok());
    assert_eq!(endpoint.asked(), 2);
    // A withdrawn key is not trusted any longer, and that costs no login a wait.
    assert_eq!(verifier.verify("rs256"), Err(TokenError::UnknownKey { issuer: ISSUER.into() }));
    assert_eq!(verifier.log_in("rs256"), Err(TokenError::UnknownKey { issuer: ISSUER.into() }));
    assert_eq!(endpoint.asked(), 2);
}

#[test]
fn a_topic_question_asks_for_an_unknown_key_and_does_not_wait_for_it() {
    let endpoint = Issuer::start(old());
    let verifier = TokenVerifier::with_keys(issuer(endpoint.source()));
    endpoint.answers(Answer::Keys(made().read("new.jwks")));
    wait::until("the new key has come by itself", || verifier.verify("rotated").is_ok());
    assert_eq!(endpoint.asked(), 2);
}

#[test]
fn while_the_issuer_is_away_its_old_keys_serve_for_a_day_and_no_longer() {
    let endpoint = Issuer::start(old());
    let verifier = TokenVerifier::with_keys(issuer(endpoint.source()));
    assert!(verifier.verify("long").is_ok());
    drop(endpoint);
    let read_at_most = made().now.plus_seconds(KEYS_LAST_SECONDS);
    assert!(verifier.verify_at("long", read_at_most.plus_seconds(-1)).is_ok());
    // A test process that takes an hour from making the tokens to reading the keys would be another
    // matter.
    assert_eq!(verifier.verify_at("long", read_at_most.plus_seconds(3600)), away());
    assert_eq!(verifier.log_in("rotated"), Err(TokenError::UnknownKey { issuer: ISSUER.into() }));
}

#[test]
fn an_issuer_that_is_away_from_the_start_is_found_when_it_is_back() {
    let endpoint = Issuer::start(Answer::Nothing);
    let verifier = TokenVerifier::new(vec![issuer(endpoint.source())]);
    wait::until("it was asked", || endpoint.asked() == 1);
    assert_eq!((verifier.verify("rs256"), verifier.age()), (away(), -1));
    endpoint.answers(old());
    wait::until("the token is accepted at a login", || verifier.log_in("rs256").is_ok());
    wait::until("the age is shown", || verifier.age() >= 0);
}

#[test]
fn a_redirect_is_not_followed_and_what_is_no_key_set_is_not_taken() {
    let elsewhere = Issuer::start(old());
    let long = [made().read("old.jwks"), vec![b' '; 300_000]].concat();
    for answer in [
        Answer::Status(format!("302 Found\r\nLocation: {}", elsewhere.url())),
        Answer::Status("500 Internal Server Error".into()),
        Answer::Keys(b"<html>".to_vec()),
        Answer::Keys(b"{\"keys\": []}".to_vec()),
        Answer::Keys(long),
    ] {
        let endpoint = Issuer::start(answer);
        let verifier = TokenVerifier::new(vec![issuer(endpoint.source())]);
        wait::until("it was asked", || endpoint.asked() == 1);
        // The first login waits for the answer to be read, and no longer.
        assert_eq!(verifier.log_in("rs256"), away());
        assert_eq!((endpoint.asked(), verifier.age()), (1, -1));
    }
    assert_eq!(elsewhere.asked(), 0);
}

#[test]
fn a_login_does_not_wait_long_for_an_issuer_that_says_nothing() {
    let endpoint = Issuer::start(Answer::Silence);
    let verifier = TokenVerifier::new(vec![issuer(endpoint.source())]);
    wait::until("it was asked", || endpoint.asked() == 1);
    let start = Instant::now();
    assert_eq!(verifier.log_in("rs256"), away());
    assert!(start.elapsed() < SILENT_ISSUER, "{:?}", start.elapsed());
}

#[test]
fn an_endpoint_with_an_unsigned_certificate_is_not_trusted() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("https://127.0.0.1:{}/certs", listener.local_addr().unwrap().port());
    let verifier = TokenVerifier::new(vec![issuer(IssuerKeySource::Url { url, ca_cert: None })]);
    let (mut hello, mut first) = (listener.accept().unwrap().0, [0]);
    // A handshake, not a request in the clear.
    std::io::Read::read_exact(&mut hello, &mut first).unwrap();
    assert_eq!(first, [22]);
    drop(hello);
    assert_eq!(verifier.verify("rs256"), away());
}

#[test]
fn a_changed_file_is_read_again_and_a_missing_one_does_no_harm() {
    let dir = Scratch::new("issuer");
    let path = dir.write("keys.jwks", made().read("old.jwks"));
    let verifier = TokenVerifier::with_keys(issuer(IssuerKeySource::JwksFile(path.clone())));
    assert!(verifier.verify("rs256").is_ok() && verifier.verify("rotated").is_err());
    dir.write("keys.jwks", made().read("new.jwks"));
    wait::until("the new key is trusted", || verifier.verify("rotated").is_ok());
    assert!(verifier.verify("rs256").is_err());
    std::fs::remove_file(path).unwrap();
    let read_at = Instant::now();
    wait::until("it was looked for and not found", || {
        read_at.elapsed() > KEY_FILE_LOOKED_FOR && verifier.age() >= 3
    });
    assert!(verifier.verify("rotated").is_ok());
}
