//! The claims of a token, read by path and type, and the [`Subject`] they describe.
//!
//! It checks no signature: the caller has checked it.

use serde_json::{Map, Value};

use super::error::TokenError;
use crate::access::hooks::subject::{Subject, SubjectKind};
use crate::domain::time::Timestamp;

/// The prefix of an issuer's service accounts.
const SERVICE_PREFIX: &str = "service-account-";

/// The latest time of a claim, in Unix time: the end of the year 9999.
const LAST_SECOND: f64 = 253_402_300_799.0;

/// The claims of one token.
#[derive(Clone, Copy, Debug)]
pub struct Claims<'a>(pub &'a Map<String, Value>);

// === impl Claims ===

impl<'a> Claims<'a> {
    /// The value at `path`: a claim of exactly that name, or else a path through objects, separated
    /// by dots.
    pub fn at(self, path: &str) -> Option<&'a Value> {
        let through = || {
            let mut steps = path.split('.');
            let first = self.0.get(steps.next()?)?;
            steps.try_fold(first, |value, step| value.get(step))
        };
        self.0.get(path).or_else(through).filter(|value| !value.is_null())
    }

    /// The claim `name` as a non-empty text.
    pub fn text(self, name: &str) -> Option<&'a str> {
        self.0.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    /// The claim `name` as a time: seconds since 1970, with or without a fraction.
    pub fn moment(self, name: &'static str) -> Result<Option<Timestamp>, TokenError> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let seconds = value.as_f64().filter(|seconds| (0.0..=LAST_SECOND).contains(seconds));
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the range was checked: it fits with room to spare"
        )]
        let micros = seconds.map(|seconds| (seconds * 1e6) as i64);
        micros.map(|micros| Some(Timestamp::from_micros(micros))).ok_or(TokenError::Type(name))
    }

    /// Whether `aud`, a text or a list of texts, names one of `audience`.
    pub fn is_for(self, audience: &[String]) -> bool {
        let ours = |value: &Value| {
            value.as_str().is_some_and(|name| audience.iter().any(|ours| ours == name))
        };
        match self.0.get("aud") {
            Some(Value::Array(names)) => names.iter().any(ours),
            Some(name) => ours(name),
            None => false,
        }
    }

    /// The subject of the claims, with this `expires_at`.
    ///
    /// It is a service if the claims name a client that logged in for itself (`client_id`,
    /// `clientId`) or a service account, and otherwise a user.
    pub fn subject(
        self,
        group_paths: &[String],
        scope_paths: &[String],
        expires_at: Timestamp,
    ) -> Result<Subject, TokenError> {
        let client = self.text("client_id").or_else(|| self.text("clientId"));
        let name = self.text("preferred_username");
        let account = name
            .and_then(|name| name.strip_prefix(SERVICE_PREFIX))
            .filter(|account| !account.is_empty());
        let is_service =
            client.is_some() || name.is_some_and(|name| name.starts_with(SERVICE_PREFIX));
        let (kind, id) = if is_service {
            let id = client.or_else(|| self.text("azp")).or(account).or_else(|| self.text("sub"));
            (SubjectKind::Service, id)
        } else {
            (SubjectKind::User, self.text("sub").or(name))
        };
        Ok(Subject {
            kind,
            id: id.ok_or(TokenError::NoSubject)?.into(),
            groups: self.collect(group_paths, |group| group.strip_prefix('/').unwrap_or(group)),
            scopes: self.collect(scope_paths, |scope| scope),
            expires_at: Some(expires_at),
        })
    }

    /// The distinct words at `paths`. A text is split at spaces; any value other than a text or a
    /// list of texts is ignored.
    fn collect(self, paths: &[String], trimmed: impl Fn(&'a str) -> &'a str) -> Vec<Box<str>> {
        let mut words: Vec<Box<str>> = Vec::new();
        for value in paths.iter().filter_map(|path| self.at(path)) {
            let found: Vec<&str> = match value {
                Value::String(text) => text.split_ascii_whitespace().collect(),
                Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
                _ => Vec::new(),
            };
            words.extend(
                found.into_iter().map(&trimmed).filter(|word| !word.is_empty()).map(Box::from),
            );
        }
        words.sort_unstable();
        words.dedup();
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn subject(claims: &Value) -> Result<Subject, TokenError> {
        let groups = paths(&["realm_access.roles", "groups", "https://example.org/groups"]);
        let claims = Claims(claims.as_object().unwrap());
        claims.subject(&groups, &paths(&["scope", "scp"]), Timestamp::default())
    }

    fn who(claims: &Value) -> (&'static str, String) {
        let subject = subject(claims).unwrap();
        (subject.kind.name(), subject.id.into())
    }

    #[test]
    fn a_program_is_told_from_a_person_and_named_in_the_order_of_the_claims() {
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        for (claims, expected) in [
            (r#"{"sub": "s", "client_id": "a", "clientId": "b", "azp": "c"}"#, ("service", "a")),
            (r#"{"sub": "s", "client_id": "", "clientId": "b", "azp": "c"}"#, ("service", "b")),
            (
                r#"{"sub": "s", "azp": "c", "preferred_username": "service-account-d"}"#,
                ("service", "c"),
            ),
            (r#"{"sub": "s", "preferred_username": "service-account-d"}"#, ("service", "d")),
            (r#"{"sub": "s", "preferred_username": "service-account-"}"#, ("service", "s")),
            (r#"{"sub": "s", "preferred_username": "ann", "azp": "app"}"#, ("user", "s")),
            (r#"{"sub": 7, "preferred_username": "ann"}"#, ("user", "ann")),
        ] {
            assert_eq!(who(&json(claims)), (expected.0, expected.1.to_owned()), "{claims}");
        }
        assert_eq!(subject(&json(r#"{"azp": "app"}"#)), Err(TokenError::NoSubject));
    }

    #[test]
    fn groups_lose_one_leading_slash_and_scopes_are_a_text_or_a_list() {
        let claims = serde_json::json!({
            "sub": "s",
            "realm_access": {"roles": ["admins", 7, ""]},
            "groups": ["/plant/north", "admins", "/"],
            "https://example.org/groups": ["night"],
            "scope": "mqtt.read  mqtt.admin",
            "scp": ["mqtt.read", "x y"],
        });
        let subject = subject(&claims).unwrap();
        assert_eq!(subject.groups, ["admins", "night", "plant/north"].map(Box::from));
        assert_eq!(subject.scopes, ["mqtt.admin", "mqtt.read", "x y"].map(Box::from));
    }

    #[test]
    fn an_audience_is_one_of_those_configured_in_either_form() {
        let ours = paths(&["mqtt", "gate"]);
        let is_for =
            |aud: Value| Claims(serde_json::json!({"aud": aud}).as_object().unwrap()).is_for(&ours);
        assert!(is_for("gate".into()) && is_for(serde_json::json!(["web", "mqtt"])));
        assert!(
            !is_for("gat".into()) && !is_for(serde_json::json!(["web"])) && !is_for(Value::Null)
        );
        assert!(!Claims(&Map::new()).is_for(&ours));
    }

    #[test]
    fn a_moment_is_a_number_that_people_can_read() {
        let moment = |value: Value| {
            let claims = serde_json::json!({ "exp": value });
            Claims(claims.as_object().unwrap()).moment("exp")
        };
        assert_eq!(
            moment(1_500_000_000.into()),
            Ok(Some(Timestamp::from_micros(1_500_000_000_000_000)))
        );
        assert_eq!(moment(1.5.into()), Ok(Some(Timestamp::from_micros(1_500_000))));
        for bad in
            [serde_json::json!("1500000000"), (-1).into(), 1e300.into(), Value::Null, true.into()]
        {
            assert_eq!(moment(bad), Err(TokenError::Type("exp")));
        }
    }
}
