//! Verifies tokens, from memory and without waiting; only a login may wait, once and briefly, for a new key.
//!
//! What a token says counts only after its signature has been checked with a key of the issuer it names. It remembers no
//! token.

use std::sync::Arc;

use super::claims::Claims;
use super::compact::CompactToken;
use super::error::TokenError;
use super::key_refresh::{KeyRefresher, KeysAt};
use super::keys::Choice;
use super::proof::{Proof, TokenSigner, half_hash};
use crate::access::hooks::subject::Subject;
use crate::config::sections::access::IssuerConfig;
use crate::domain::time::{Clock, Timestamp};
use crate::telemetry::issuer_keys::IssuerKeyMetrics;

/// Believes the tokens of the configured issuers. Cheap to clone.
#[derive(Clone)]
pub struct Verifier(Arc<[TrustedIssuer]>);

/// An issuer, and where its keys are in memory.
struct TrustedIssuer {
    issuer: IssuerConfig,
    /// By what the issuer is known to remembered logins.
    hash: [u8; 16],
    keys: KeysAt,
}

/// The verifier, and for each issuer the keeper of its keys, which must be run.
pub fn open(issuers: Vec<IssuerConfig>, metrics: &IssuerKeyMetrics, clock: Clock) -> (Verifier, Vec<KeyRefresher>) {
    let (mut trusted, mut keepers) = (Vec::new(), Vec::new());
    for issuer in issuers {
        let (keeper, keys) = KeyRefresher::new(&issuer.issuer, issuer.keys.clone(), metrics.clone(), clock);
        keepers.push(keeper);
        let hash = half_hash(&[issuer.issuer.as_bytes()]);
        trusted.push(TrustedIssuer { issuer, hash, keys });
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
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Proof, TokenError> {
        let token = CompactToken::read(token)?;
        let (place, trusted) = self.issuer_of(&token).ok_or(TokenError::Issuer)?;
        let verified = trusted.check_signature(&token, now);
        if verified.as_ref().is_err_and(TokenError::may_pass_with_new_keys) {
            trusted.keys.ask();
        }
        let (signer, generation) = verified?;
        let subject = Arc::new(trusted.believe(Claims(&token.claims), now)?);
        Ok(Proof { subject, signer, as_of: (place, generation) })
    }

    /// Whether a proof was made with the keys that are in force.
    pub fn is_current(&self, proof: &Proof, now: Timestamp) -> bool {
        let (place, generation) = proof.as_of;
        self.0.get(place).is_some_and(|trusted| trusted.keys.is_current(generation, now))
    }

    /// Whether what signed a token that was verified earlier is still an issuer's key. While the issuer's keys have not been
    /// read since the start, none is missing. One that is missing is asked for: another replica may have verified by a new key.
    pub fn trusts(&self, signer: &TokenSigner) -> bool {
        let Some(trusted) = self.0.iter().find(|trusted| trusted.hash == signer.issuer) else { return false };
        let is_there = trusted.keys.may_hold(&signer.key);
        if !is_there {
            trusted.keys.ask();
        }
        is_there
    }

    /// The same for a login: when the key is not known, the issuer is asked once more, within a second.
    pub async fn verify_at_login(&self, token: &str, clock: Clock) -> Result<Proof, TokenError> {
        let refused = match self.verify(token, clock()) {
            Err(refused) if refused.may_pass_with_new_keys() => refused,
            decided => return decided,
        };
        let read = CompactToken::read(token)?;
        match self.issuer_of(&read) {
            Some((_, trusted)) if trusted.keys.renewed().await => self.verify(token, clock()),
            _ => Err(refused),
        }
    }

    fn issuer_of(&self, token: &CompactToken<'_>) -> Option<(usize, &TrustedIssuer)> {
        let named = Claims(&token.claims).text("iss")?;
        self.0.iter().enumerate().find(|(_, trusted)| trusted.issuer.issuer == named)
    }
}

/// Names only: keys and rules are long.
impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|trusted| &trusted.issuer.issuer)).finish()
    }
}

// === impl Trusted ===

impl TrustedIssuer {
    /// Which key signed it, and the generation of the keys.
    fn check_signature(&self, token: &CompactToken<'_>, now: Timestamp) -> Result<(TokenSigner, u64), TokenError> {
        let issuer = || self.issuer.issuer.as_str().into();
        let (keys, generation) = self.keys.good_at(now).ok_or_else(|| TokenError::KeysAway { issuer: issuer() })?;
        match keys.choose(token.key_id.as_deref(), token.algorithm) {
            Choice::Unknown => Err(TokenError::UnknownKey { issuer: issuer() }),
            Choice::Misfit => Err(TokenError::WrongKey { algorithm: token.algorithm.name() }),
            Choice::Of(keys) => {
                let key = keys.into_iter().find(|key| key.verifies(token.signed, &token.signature));
                let key = key.ok_or(TokenError::Signature)?.hash();
                Ok((TokenSigner { issuer: self.hash, key }, generation))
            }
        }
    }

    /// What a signed token says: for us, now, and by whom.
    fn believe(&self, claims: Claims<'_>, now: Timestamp) -> Result<Subject, TokenError> {
        let leeway = i64::from(self.issuer.leeway_seconds);
        if !self.issuer.audience.is_empty() && !claims.is_for(&self.issuer.audience) {
            return Err(TokenError::Audience);
        }
        let expires = claims.moment("exp")?.ok_or(TokenError::Missing("exp".into()))?.plus_seconds(leeway);
        if now >= expires {
            return Err(TokenError::Expired);
        }
        for claim in ["nbf", "iat"] {
            if claims.moment(claim)?.is_some_and(|from| now.plus_seconds(leeway) < from) {
                return Err(TokenError::NotYet { claim });
            }
        }
        if let Some(missing) = self.issuer.required_claims.iter().find(|path| claims.at(path).is_none()) {
            return Err(TokenError::Missing(missing.as_str().into()));
        }
        claims.subject(&self.issuer.group_claims, &self.issuer.scope_claims, expires)
    }
}
