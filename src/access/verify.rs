//! Verifies tokens, from memory and without waiting; only a login may wait, once and briefly, for a new key.
//!
//! What a token says counts only after its signature has been checked with a key of the issuer it names. It remembers no
//! token.

use std::sync::Arc;

use super::claims::Claims;
use super::keeper::{Keeper, KeysAt};
use super::keys::Choice;
use super::refused::Refused;
use super::subject::Subject;
use super::token::Token;
use crate::config::access::IssuerConfig;
use crate::domain::time::{Clock, Timestamp};
use crate::telemetry::access::AccessMetrics;

/// Believes the tokens of the configured issuers. Cheap to clone.
#[derive(Clone)]
pub struct Verifier(Arc<[Trusted]>);

/// An issuer, and where its keys are in memory.
struct Trusted {
    issuer: IssuerConfig,
    keys: KeysAt,
}

/// The verifier, and for each issuer the keeper of its keys, which must be run.
pub fn open(issuers: Vec<IssuerConfig>, metrics: &AccessMetrics, clock: Clock) -> (Verifier, Vec<Keeper>) {
    let (mut trusted, mut keepers) = (Vec::new(), Vec::new());
    for issuer in issuers {
        let (keeper, keys) = Keeper::new(&issuer.issuer, issuer.keys.clone(), metrics.clone(), clock);
        keepers.push(keeper);
        trusted.push(Trusted { issuer, keys });
    }
    (Verifier(trusted.into()), keepers)
}

// === impl Verifier ===

impl Verifier {
    /// Whether any token can be believed.
    pub fn has_issuers(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whom the token speaks of. It never waits; an unknown key is asked for behind its back.
    ///
    /// The subject's `expires_at` is the moment from which the same token is refused: its `exp` and the leeway. So whoever
    /// is let in within the leeway is not turned away at the first topic.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Subject, Refused> {
        let token = Token::read(token)?;
        let trusted = self.issuer_of(&token).ok_or(Refused::Issuer)?;
        let verified = trusted.check_signature(&token, now);
        if verified.as_ref().is_err_and(Refused::may_pass_with_new_keys) {
            trusted.keys.ask();
        }
        verified.and_then(|()| trusted.believe(Claims(&token.claims), now))
    }

    /// The same for a login: when the key is not known, the issuer is asked once more, within a second.
    pub async fn verify_at_login(&self, token: &str, clock: Clock) -> Result<Subject, Refused> {
        let refused = match self.verify(token, clock()) {
            Err(refused) if refused.may_pass_with_new_keys() => refused,
            decided => return decided,
        };
        let read = Token::read(token)?;
        match self.issuer_of(&read) {
            Some(trusted) if trusted.keys.renewed().await => self.verify(token, clock()),
            _ => Err(refused),
        }
    }

    fn issuer_of(&self, token: &Token<'_>) -> Option<&Trusted> {
        let named = Claims(&token.claims).text("iss")?;
        self.0.iter().find(|trusted| trusted.issuer.issuer == named)
    }
}

/// Names only: keys and rules are long.
impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|trusted| &trusted.issuer.issuer)).finish()
    }
}

// === impl Trusted ===

impl Trusted {
    fn check_signature(&self, token: &Token<'_>, now: Timestamp) -> Result<(), Refused> {
        let issuer = || self.issuer.issuer.as_str().into();
        let keys = self.keys.good_at(now).ok_or_else(|| Refused::KeysAway { issuer: issuer() })?;
        match keys.choose(token.key_id.as_deref(), token.algorithm) {
            Choice::Unknown => Err(Refused::UnknownKey { issuer: issuer() }),
            Choice::Misfit => Err(Refused::WrongKey { algorithm: token.algorithm.name() }),
            Choice::Of(keys) if keys.iter().any(|key| key.verifies(token.signed, &token.signature)) => Ok(()),
            Choice::Of(_) => Err(Refused::Signature),
        }
    }

    /// What a signed token says: for us, now, and by whom.
    fn believe(&self, claims: Claims<'_>, now: Timestamp) -> Result<Subject, Refused> {
        let leeway = i64::from(self.issuer.leeway_seconds);
        if !self.issuer.audience.is_empty() && !claims.is_for(&self.issuer.audience) {
            return Err(Refused::Audience);
        }
        let expires = claims.moment("exp")?.ok_or(Refused::Missing("exp".into()))?.plus_seconds(leeway);
        if now >= expires {
            return Err(Refused::Expired);
        }
        for claim in ["nbf", "iat"] {
            if claims.moment(claim)?.is_some_and(|from| now.plus_seconds(leeway) < from) {
                return Err(Refused::NotYet { claim });
            }
        }
        if let Some(missing) = self.issuer.required_claims.iter().find(|path| claims.at(path).is_none()) {
            return Err(Refused::Missing(missing.as_str().into()));
        }
        claims.subject(&self.issuer.group_claims, &self.issuer.scope_claims, expires)
    }
}
