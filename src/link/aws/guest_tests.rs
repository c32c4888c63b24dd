//! Guests against a scripted service: what moto, which the tests of the whole use, never answers.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::cognito_error::{CognitoCall, CognitoError, CognitoRefusal};
use super::credentials::{CredentialError, CredentialSource};
use super::identity::IdentityKeeper;
use crate::domain::time::Timestamp;
use crate::link::settings::LinkAuth;

/// 2026-11-28T12:00:00Z, where the clock of each test starts.
const NOON: i64 = 1_795_867_200;
const ID: (u16, &str) = (200, r#"{"IdentityId":"us-east-1:guest-1"}"#);
const OTHER_ID: (u16, &str) = (200, r#"{"IdentityId":"us-east-1:guest-2"}"#);

thread_local! {
    static SECONDS: Cell<i64> = const { Cell::new(NOON) };
}

fn clock() -> Timestamp {
    Timestamp::from_micros(0).plus_seconds(SECONDS.get())
}

fn wait_seconds(seconds: i64) {
    SECONDS.set(SECONDS.get() + seconds);
}

/// A service that gives these responses in turn, then hangs up.
struct ScriptedService {
    url: String,
    calls: Arc<Mutex<Vec<String>>>,
}

impl ScriptedService {
    fn start(answers: Vec<(u16, String)>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let calls = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&calls);
        thread::spawn(move || {
            for (status, body) in answers {
                let (stream, _) = listener.accept().unwrap();
                seen.lock().unwrap().push(answer(&stream, status, &body));
            }
        });
        Self { url, calls }
    }

    fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    fn source(&self) -> CredentialSource {
        let auth = LinkAuth::Cognito {
            region: "us-east-1".into(),
            identity_pool_id: "us-east-1:pool".into(),
            endpoint: Some(self.url.clone()),
            public_prefix: None,
        };
        CredentialSource::of_link(&auth, None, IdentityKeeper::in_memory(), clock).unwrap()
    }
}

/// Answers one request; its call and body.
fn answer(stream: &TcpStream, status: u16, body: &str) -> String {
    let mut reader = BufReader::new(stream);
    let (mut target, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim().to_ascii_lowercase().split_once(": ") {
            Some(("x-amz-target", _)) => {
                target = line.trim().rsplit('.').next().unwrap().to_owned();
            }
            Some(("content-length", value)) => length = value.parse().unwrap(),
            None if line.trim().is_empty() => break,
            _ => {}
        }
    }
    let mut request = vec![0; length];
    reader.read_exact(&mut request).unwrap();
    let date = "Date: Sat, 28 Nov 2026 12:10:00 GMT";
    let size = body.len();
    let head = format!("HTTP/1.1 {status} x\r\n{date}\r\ncontent-length: {size}\r\n\r\n{body}");
    // A client that has seen enough hangs up.
    let _ = { stream }.write_all(head.as_bytes());
    format!("{target} {}", String::from_utf8(request).unwrap())
}

fn living(seconds: i64, key: &str) -> (u16, String) {
    let end = SECONDS.get() + seconds;
    let credentials = format!(
        r#"{{"AccessKeyId":"{key}","SecretKey":"hidden","SessionToken":"hidden","Expiration":{end}.25}}"#
    );
    (200, format!(r#"{{"IdentityId":"x","Credentials":{credentials}}}"#))
}

fn refusal(kind: &str) -> (u16, String) {
    (400, format!(r#"{{"__type":"{kind}","message":"no\nguests"}}"#))
}

fn plain(answer: (u16, &str)) -> (u16, String) {
    (answer.0, answer.1.to_owned())
}

async fn error_of(answers: Vec<(u16, String)>) -> CognitoError {
    match ScriptedService::start(answers).source().current().await.unwrap_err() {
        CredentialError::Cognito(error) => error,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn the_identity_is_requested_once_and_the_credentials_when_little_is_left_of_them() {
    let answers = vec![plain(ID), living(3600, "first"), living(7200, "second")];
    let service = ScriptedService::start(answers);
    let source = service.source();
    assert_eq!(source.current().await.unwrap().access_key_id, "first");
    wait_seconds(3299);
    assert_eq!(source.current().await.unwrap().access_key_id, "first");
    wait_seconds(2);
    let second = source.current().await.unwrap();
    assert_eq!(second.access_key_id, "second");
    assert_eq!(second.expires.unwrap().micros(), (NOON + 7200) * 1_000_000 + 250_000);
    assert_eq!(source.expires(), second.expires);
    let credentials = r#"GetCredentialsForIdentity {"IdentityId":"us-east-1:guest-1"}"#;
    let expected = [r#"GetId {"IdentityPoolId":"us-east-1:pool"}"#, credentials, credentials];
    assert_eq!(service.calls(), expected);
}

#[tokio::test]
async fn credentials_that_cannot_be_renewed_are_used_to_their_end() {
    let service = ScriptedService::start(vec![plain(ID), living(90, "first")]);
    let source = service.source();
    source.current().await.unwrap();
    wait_seconds(75);
    assert_eq!(source.current().await.unwrap().access_key_id, "first");
    wait_seconds(10);
    let error = source.current().await.unwrap_err();
    let call = "GetCredentialsForIdentity at http://127.0.0.1:";
    assert!(error.to_string().starts_with(call), "{error}");
}

#[tokio::test]
async fn a_lost_identity_is_replaced_once() {
    let lost = refusal("com.amazonaws.cognito.identity.model#ResourceNotFoundException");
    let found = vec![plain(ID), lost.clone(), plain(OTHER_ID), living(90, "of the other")];
    let service = ScriptedService::start(found);
    let source = service.source();
    assert_eq!(source.current().await.unwrap().access_key_id, "of the other");
    assert!(service.calls()[3].ends_with(r#"{"IdentityId":"us-east-1:guest-2"}"#));

    let error = error_of(vec![plain(ID), lost.clone(), plain(OTHER_ID), lost]).await;
    assert!(matches!(error, CognitoError::Refused { refusal: CognitoRefusal::NotFound, .. }));
}

#[tokio::test]
async fn after_a_refused_signature_credentials_of_more_than_a_minute_are_not_used_again() {
    let answers = vec![plain(ID), living(3600, "first"), living(3600, "second")];
    let source = ScriptedService::start(answers).source();
    source.current().await.unwrap();
    wait_seconds(60);
    assert!(!source.refused().await);
    assert_eq!(source.current().await.unwrap().access_key_id, "first");
    wait_seconds(1);
    assert!(source.refused().await);
    assert_eq!(source.current().await.unwrap().access_key_id, "second");
    assert!(!source.refused().await);
}

#[tokio::test]
async fn each_refusal_says_what_to_do() {
    for (kind, words) in [
        ("NotAuthorizedException", "the identity pool forbids guests"),
        ("ResourceNotFoundException", "check `identity_pool_id` and `region`"),
        ("InvalidIdentityPoolConfigurationException", "attach an IAM role"),
        ("TooManyRequestsException", "waits and tries again"),
        ("LimitExceededException", "a quota of the AWS account"),
    ] {
        let error = error_of(vec![refusal(kind)]).await;
        let expected = format!("GetId is refused with status 400: {kind} (noguests)");
        assert_eq!(error.to_string(), expected);
        assert!(error.advice().contains(words), "{}", error.advice());
    }
    let error = error_of(vec![(500, "<html>moto</html>".to_owned())]).await;
    let expected = "GetId is refused with status 500: the service names no reason";
    assert_eq!(error.to_string(), expected);
    let error = error_of(vec![(302, String::new())]).await;
    assert!(error.to_string().starts_with("GetId is refused with status 302"), "{error}");
}

#[tokio::test]
async fn a_response_that_is_none_is_an_error_without_its_content() {
    for body in [
        r#"{"Credentials":{"SecretKey":"hidden"}}"#.to_owned(),
        living(90, "x").1.replace(".25", "\"hidden\""),
        "hidden".repeat(20_000),
    ] {
        let error = error_of(vec![plain(ID), (200, body)]).await;
        assert!(!format!("{error} {error:?}").contains("hidden"), "{error}");
    }
    let error = error_of(vec![plain(ID), living(-1, "x")]).await;
    assert!(matches!(error, CognitoError::Ended { call: CognitoCall::GetCredentials, .. }));
    let endless = living(90, "x").1.replace(".25", "e10");
    let error = error_of(vec![plain(ID), (200, endless)]).await;
    assert!(error.to_string().contains("Expiration is no number of seconds"), "{error}");
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_noticed() {
    let source = ScriptedService::start(vec![plain(ID), living(90, "x")]).source();
    source.current().await.unwrap();
    let difference = source.clock_difference().unwrap().to_string();
    assert!(difference.contains("is 600 s behind the server's (2026-11-28T12:10:00Z)"));
}
