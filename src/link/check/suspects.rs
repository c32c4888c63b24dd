//! Which field of a refused token is at fault. The other broker gives one code for all of them, so it is
//! shown what it accepts: a login with one field changed.
//!
//! A login that is accepted ends at once. The number of attempts is bounded, and the clouds limit it, too.
//! No attempt takes a client id of the daemon: an accepted one would end the daemon's connection.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::report::CheckStep;
use super::token::{audience_forms, audiences};
use crate::broker::error::BrokerError;
use crate::broker::remote::facts::RemoteFacts;
use crate::broker::remote::target::RemoteTarget;
use crate::clock;
use crate::config::sections::broker::{BrokerJwt, JwtPlace};
use crate::domain::time::{Clock, Timestamp};
use crate::link::settings::{LinkAuth, LinkSettings};
use crate::link::visit::{self, LinkVisit};

/// Codes of CONNACK that may concern the token: bad credentials, not authorized, bad method.
const CODES: [u8; 3] = [0x86, 0x87, 0x8c];

/// Codes after which no further attempt is made: quota, rate, banned.
const ENOUGH: [u8; 3] = [0x8a, 0x97, 0x9f];

/// Attempts to log in.
const ATTEMPTS_MAX: usize = 16;

/// Pause before an attempt: AWS allows one connect a second and client id.
const PAUSE: Duration = Duration::from_millis(300);

/// Life of the token that shows whether the clocks differ; the present is in its middle.
const LONG: Duration = Duration::from_hours(24);

/// Half of [`LONG`], in seconds.
const HALF_SECONDS: i64 = 43_200;

/// What is known before the search.
#[derive(Clone, Copy, Debug, Default)]
pub struct Suspicion {
    /// Whether the key was compared with the certificate that the cloud has.
    pub is_key_compared: bool,
    /// Whether each form of the audience is tried alone.
    pub tries_audiences: bool,
}

/// A login with something changed.
struct LoginAttempt {
    /// The fields that it changes.
    fields: Vec<&'static str>,
    /// What it logs in with.
    with: String,
    token: BrokerJwt,
    client_id: Option<String>,
    /// The time of the token.
    clock: Clock,
}

/// Whether the token may be the cause.
pub fn concerns(error: &BrokerError) -> bool {
    matches!(error, BrokerError::Refused { code, .. } if CODES.contains(code))
}

/// Logs in with one field changed after the other, and names the one that makes the difference.
pub async fn search(
    step: &mut CheckStep,
    link: &LinkSettings,
    target: &RemoteTarget,
    suspicion: Suspicion,
) {
    let (LinkAuth::Jwt { .. }, Some(token)) = (&link.auth, &target.broker.jwt) else { return };
    let mut tried = Vec::new();
    for attempt in attempts(link, token, &target.broker.client_id, suspicion) {
        sleep(PAUSE).await;
        match log_in(link, target, &attempt).await {
            Ok(()) => return accepted(step, link, &attempt),
            Err(BrokerError::Refused { code, .. }) if CODES.contains(&code) => {
                tried.push(attempt.with);
            }
            Err(BrokerError::Refused { code, .. }) if ENOUGH.contains(&code) => {
                step.note(format!("no further login was tried: code 0x{code:02X}"));
                break;
            }
            Err(error) => {
                step.note(format!("no further login was tried: {error}"));
                break;
            }
        }
    }
    unresolved(step, link, suspicion, &tried);
}

// === impl LoginAttempt ===

impl LoginAttempt {
    /// An attempt with the client id of the check, now.
    fn of(fields: Vec<&'static str>, with: String, token: BrokerJwt) -> Self {
        Self { fields, with, token, client_id: None, clock: clock::now }
    }
}

// === private helpers ===

fn half_a_day_ago() -> Timestamp {
    clock::now().plus_seconds(-HALF_SECONDS)
}

async fn log_in(
    link: &LinkSettings,
    target: &RemoteTarget,
    attempt: &LoginAttempt,
) -> Result<(), BrokerError> {
    let mut changed = target.clone();
    changed.broker.jwt = Some(attempt.token.clone());
    if let Some(id) = &attempt.client_id {
        changed.broker.client_id.clone_from(id);
    }
    let mut facts = RemoteFacts::default();
    LinkVisit::open_by(attempt.clock, &changed, link, &mut facts).await?.close().await;
    Ok(())
}

fn attempts(
    link: &LinkSettings,
    token: &BrokerJwt,
    client_id: &str,
    suspicion: Suspicion,
) -> Vec<LoginAttempt> {
    let text = |claim: &str| token.claims.get(claim).and_then(Value::as_str);
    let (issuer, subject) = (text("iss"), text("sub"));
    let daemon_id = link.client_id.as_str();
    let mut all = Vec::new();
    for form in audience_candidates(link, token, suspicion) {
        all.push(with_claim(token, "audience", "aud", form));
    }
    let wide = BrokerJwt { lifetime: LONG, ..token.clone() };
    let with = format!("a token that is valid from {HALF_SECONDS} s ago for {HALF_SECONDS} s");
    all.push(LoginAttempt {
        clock: half_a_day_ago,
        ..LoginAttempt::of(vec!["lifetime"], with, wide)
    });
    for other in [subject, Some(daemon_id)].into_iter().flatten() {
        if issuer != Some(other) {
            all.push(with_claim(token, "issuer", "iss", json!(other)));
        }
    }
    for other in [Some(daemon_id), issuer].into_iter().flatten() {
        if subject != Some(other) {
            all.push(with_claim(token, "subject", "sub", json!(other)));
        }
    }
    for other in [Some(daemon_id), subject].into_iter().flatten() {
        if other != client_id && !visit::is_of_daemon(link, other) {
            let (fields, with) = (vec!["client_id"], format!("the client id {other}"));
            let client_id = Some(other.to_owned());
            let attempt = LoginAttempt::of(fields, with, token.clone());
            all.push(LoginAttempt { client_id, ..attempt });
        }
    }
    if token.place != JwtPlace::Enhanced {
        let token = BrokerJwt { place: JwtPlace::Enhanced, ..token.clone() };
        let with = "enhanced authentication".to_owned();
        all.push(LoginAttempt::of(vec!["place"], with, token));
    }
    all.push(with_all(link, token, subject.unwrap_or(daemon_id)));
    let mut seen: Vec<String> = Vec::new();
    all.retain(|attempt| {
        let is_new = !seen.contains(&attempt.with);
        seen.push(attempt.with.clone());
        is_new
    });
    all.truncate(ATTEMPTS_MAX);
    all
}

/// The forms of the audience to try: all usual ones at once, or each alone.
fn audience_candidates(link: &LinkSettings, token: &BrokerJwt, suspicion: Suspicion) -> Vec<Value> {
    let now = audiences(&token.claims);
    let [plain, slash] = audience_forms(&link.host);
    let mut forms = vec![plain.clone(), slash.clone()];
    for own in &now {
        forms.push(own.trim_end_matches('/').to_owned());
        forms.push(format!("{}/", own.trim_end_matches('/')));
    }
    if suspicion.tries_audiences {
        forms.push(format!("https://{plain}"));
        forms.push(format!("https://{slash}"));
    }
    let mut unique: Vec<String> = Vec::new();
    for form in forms {
        if !unique.contains(&form) {
            unique.push(form);
        }
    }
    if suspicion.tries_audiences {
        let each = unique.into_iter().filter(|form| now != [form.as_str()]);
        return each.map(Value::String).collect();
    }
    if unique.iter().all(|form| now.contains(&form.as_str())) {
        return Vec::new();
    }
    vec![json!(unique)]
}

fn with_claim(token: &BrokerJwt, field: &'static str, claim: &str, value: Value) -> LoginAttempt {
    let with = format!("{claim} = {value}");
    let mut token = token.clone();
    token.claims.insert(claim.to_owned(), value);
    LoginAttempt::of(vec![field], with, token)
}

/// Everything changed at once: more than one field may be at fault.
fn with_all(link: &LinkSettings, token: &BrokerJwt, subject: &str) -> LoginAttempt {
    let mut token = BrokerJwt { place: JwtPlace::Enhanced, ..token.clone() };
    let forms = audience_forms(&link.host);
    let changes = [("iss", json!(subject)), ("sub", json!(subject)), ("aud", json!(forms))];
    let with = format!("iss = sub = {subject:?}, aud = {forms:?}");
    for (claim, value) in changes {
        token.claims.insert(claim.to_owned(), value);
    }
    let fields = vec!["audience", "issuer", "subject"];
    LoginAttempt::of(fields, with, token)
}

fn accepted(step: &mut CheckStep, link: &LinkSettings, attempt: &LoginAttempt) {
    let names: Vec<String> =
        attempt.fields.iter().map(|field| format!("link.{}.{field}", link.name)).collect();
    step.fail(
        format!("{} accepts the login with {}", link.host, attempt.with),
        match attempt.fields.as_slice() {
            ["lifetime"] => "the clocks differ, or the token lives too short: set the clock of this machine, or a longer \
                             lifetime"
                .to_owned(),
            _ => format!("change {} to that", names.join(", ")),
        },
    );
    for field in &attempt.fields {
        step.field(*field);
    }
}

/// No change helped: what is left.
fn unresolved(step: &mut CheckStep, link: &LinkSettings, suspicion: Suspicion, tried: &[String]) {
    if !tried.is_empty() {
        step.note(format!("refused just as much: {}", tried.join("; ")));
    }
    let is_key_free = suspicion.is_key_compared;
    let rest = if is_key_free {
        step.field("issuer").field("subject");
        "the key is that of the certificate, so likely iss is not the issuer that the other broker expects"
    } else {
        step.field("issuer").field("key").field("subject");
        "likely iss is not the issuer that the other broker expects, or the key is not that of its certificate"
    };
    step.note(rest);
    step.advice.push(format!(
        "compare link.{0}.issuer with the issuer there{1}; sub must be a client that is enabled",
        link.name,
        if is_key_free {
            String::new()
        } else {
            format!(", and link.{}.key with its certificate by --certificate FILE", link.name)
        }
    ));
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::link::file::parse;

    fn token(claims: Value) -> BrokerJwt {
        let claims: Map<String, Value> = serde_json::from_value(claims).unwrap();
        let lifetime = Duration::from_hours(1);
        BrokerJwt { key: "k".into(), key_id: None, claims, lifetime, place: JwtPlace::Enhanced }
    }

    #[test]
    fn only_a_refusal_of_the_login_concerns_the_token() {
        let refused = |code| BrokerError::Refused { code, reason: None, server: None };
        assert!(concerns(&refused(0x87)) && concerns(&refused(0x8c)));
        assert!(!concerns(&refused(0x97)) && !concerns(&BrokerError::ClosedEarly));
    }

    #[test]
    fn a_claim_is_changed_alone() {
        let base = token(json!({ "iss": "a", "sub": "b", "aud": "c" }));
        let attempt = with_claim(&base, "issuer", "iss", json!("b"));
        assert_eq!(
            attempt.token.claims,
            token(json!({ "iss": "b", "sub": "b", "aud": "c" })).claims
        );
        assert_eq!((attempt.with.as_str(), attempt.fields), ("iss = \"b\"", vec!["issuer"]));
    }

    #[test]
    fn no_attempt_takes_the_client_id_of_the_daemon() {
        let file = "[link.x]\nkind = 'event-grid'\nhost = 'n.r.ts.eventgrid.azure.net'\n\
            client_id = 'gate'\nauth = 'jwt'\nkey = '/k'\nissuer = 'i'\nsubject = 'other'\n\
            audience = 'a'\npublish = [{ from = '#', to = 'a' }]\n";
        let link = parse(file).unwrap().links.remove(0);
        let base = token(json!({ "iss": "i", "sub": "other", "aud": "a" }));
        let all = attempts(&link, &base, "gate-check", Suspicion::default());
        let ids: Vec<&str> = all.iter().filter_map(|one| one.client_id.as_deref()).collect();
        assert_eq!(ids, ["other"]);
    }
}
