//! Step 4: the token as it would be sent now, claim by claim.
//!
//! It shows header and claims, and never the signature: nothing that it shows logs in.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::report::CheckStep;
use super::static_steps::is_local;
use crate::broker::login::jwt::mint;
use crate::config::sections::broker::{BrokerJwt, JwtPlace};
use crate::domain::time::{MICROS_PER_SECOND, Timestamp};
use crate::link::kind::LinkKind;
use crate::link::settings::{LinkAuth, LinkSettings};

/// Longest life of a token that clouds accept without doubt, in seconds.
const LIFETIME_MAX: u64 = 86_400;

/// Step 4. Blocks: it reads the key.
pub fn token(link: &LinkSettings, now: Timestamp) -> CheckStep {
    let LinkAuth::Jwt { token, .. } = &link.auth else {
        return CheckStep::skipped(4, "token", "this login has no token");
    };
    let mut step = CheckStep::new(4, "token");
    let made = match mint(token, &format!("link.{}.key", link.name), now) {
        Ok(made) => made,
        Err(error) => {
            step.fail(error.to_string(), "step 3 says what is wrong with the key").field("key");
            return step;
        }
    };
    let mut parts = made.split('.');
    let (header, claims) = (decoded(parts.next()), decoded(parts.next()));
    step.note(format!("header {}", Value::Object(header)));
    step.note(format!("claims {}", Value::Object(claims.clone())));
    step.note(format!("sent as {}, {} bytes", place(token.place), made.len()));
    judge_place(&mut step, link, token);
    judge_names(&mut step, link, &claims);
    judge_audience(&mut step, link, &claims);
    judge_times(&mut step, token, &claims, now);
    step
}

/// The audiences that Event Grid is known to accept for a host.
pub fn audience_forms(host: &str) -> [String; 2] {
    [host.to_owned(), format!("{host}/")]
}

/// The audiences of the claims, one or several.
pub fn audiences(claims: &Map<String, Value>) -> Vec<&str> {
    match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

// === private helpers ===

fn decoded(part: Option<&str>) -> Map<String, Value> {
    part.and_then(|part| URL_SAFE_NO_PAD.decode(part).ok())
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

const fn place(place: JwtPlace) -> &'static str {
    match place {
        JwtPlace::Enhanced => "enhanced authentication CUSTOM-JWT",
        JwtPlace::Password => "the password",
        JwtPlace::Username => "the user name",
    }
}

fn judge_place(step: &mut CheckStep, link: &LinkSettings, token: &BrokerJwt) {
    if link.kind == LinkKind::EventGrid && token.place != JwtPlace::Enhanced {
        step.fail(
            format!("Event Grid takes no token as {}", place(token.place)),
            "leave place out, or set place = \"enhanced\"",
        );
        step.field("place");
    }
}

fn judge_names(step: &mut CheckStep, link: &LinkSettings, claims: &Map<String, Value>) {
    if link.kind != LinkKind::EventGrid {
        return;
    }
    for (claim, field) in [("iss", "issuer"), ("sub", "subject")] {
        match claims.get(claim).and_then(Value::as_str) {
            None | Some("") => {
                step.fail(
                    format!("the token has no {claim}"),
                    format!("set {field}: Event Grid requires the claim"),
                );
                step.field(field);
            }
            Some(text) if text.trim() != text => {
                step.warn(
                    format!("{claim} {text:?} begins or ends with a space"),
                    format!("remove it from {field}"),
                );
                step.field(field);
            }
            Some(_) => {}
        }
    }
}

fn judge_audience(step: &mut CheckStep, link: &LinkSettings, claims: &Map<String, Value>) {
    let found = audiences(claims);
    if link.kind != LinkKind::EventGrid {
        return;
    }
    let expected = audience_forms(&link.host);
    let has = |form: &String| found.contains(&form.as_str());
    match (has(&expected[0]), has(&expected[1])) {
        (true, true) => {
            step.note("aud has both forms of the host name, without and with a slash at the end");
        }
        (true, false) => {
            step.note(
                "aud is the host name without a slash at the end; some namespaces want the slash",
            );
        }
        (false, true) => {
            step.note("aud is the host name with a slash at the end");
        }
        (false, false) if is_local(&link.host) => {
            step.note(format!("aud is {found:?}"));
        }
        (false, false) => {
            step.fail(
                format!("aud {found:?} does not name the host {}", link.host),
                format!(
                    "leave audience out, or set audience = [\"{}\", \"{}\"]; a custom domain is an audience, too",
                    expected[0], expected[1]
                ),
            );
            step.field("audience");
        }
    }
}

fn judge_times(
    step: &mut CheckStep,
    token: &BrokerJwt,
    claims: &Map<String, Value>,
    now: Timestamp,
) {
    let seconds = now.micros().div_euclid(MICROS_PER_SECOND);
    let exp = claims.get("exp").and_then(Value::as_i64).unwrap_or_default();
    let nbf = claims.get("nbf").and_then(Value::as_i64).unwrap_or_default();
    step.note(format!(
        "valid from {} s ago for {} s from now, by the clock of this machine ({now})",
        seconds - nbf,
        exp - seconds
    ));
    if exp <= seconds {
        step.fail("the token has expired when it is made", "set lifetime to an hour");
        step.field("lifetime");
    } else if token.lifetime.as_secs() > LIFETIME_MAX {
        step.warn(
            format!("lifetime is {} s", token.lifetime.as_secs()),
            "a token of more than a day may be refused: Sluice renews it, so an hour is enough",
        );
        step.field("lifetime");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_audience_or_several_are_read() {
        let of = |value: Value| {
            let claims = Map::from_iter([("aud".to_owned(), value)]);
            audiences(&claims).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(of(json!("a")), ["a"]);
        assert_eq!(of(json!(["a", "b/"])), ["a", "b/"]);
        assert!(of(json!(7)).is_empty() && audiences(&Map::new()).is_empty());
    }
}
