//! Verifies tokens from memory without waiting; only a login may wait, once and briefly, for a new
//! key.
//!
//! It uses no claim except `iss` before the signature is checked with a key of that issuer. It
//! stores no token.

use std::sync::Arc;

use super::claims::Claims;
use super::compact::CompactToken;
use super::error::TokenError;
use super::key_refresh::{CachedKeysReader, KeyRefresher};
use super::keys::Choice;
use super::proof::{Proof, TokenSigner, half_hash};
use crate::access::hooks::subject::Subject;
use crate::config::sections::issuer::IssuerConfig;
use crate::domain::time::{Clock, Timestamp};
use crate::telemetry::issuer_keys::IssuerKeyMetrics;

/// Verifies the tokens of the configured issuers. Clones share it.
#[derive(Clone)]
pub struct Verifier(Arc<[TrustedIssuer]>);

/// An issuer and its cached keys.
struct TrustedIssuer {
    issuer: IssuerConfig,
    /// Identifies the issuer in stored logins.
    hash: [u8; 16],
    keys: CachedKeysReader,
}

/// The verifier, and a refresher for each issuer, which the caller must run.
pub fn open(
    issuers: Vec<IssuerConfig>,
    metrics: &IssuerKeyMetrics,
    clock: Clock,
) -> (Verifier, Vec<KeyRefresher>) {
    let (mut trusted, mut refreshers) = (Vec::new(), Vec::new());
    for issuer in issuers {
        let (refresher, keys) =
            KeyRefresher::new(&issuer.issuer, issuer.keys.clone(), metrics.clone(), clock);
        refreshers.push(refresher);
        let hash = half_hash(&[issuer.issuer.as_bytes()]);
        trusted.push(TrustedIssuer { issuer, hash, keys });
    }
    (Verifier(trusted.into()), refreshers)
}

// === impl Verifier ===

impl Verifier {
    /// Verifies a token without waiting. An unknown key causes a refresh in the background.
    ///
    /// The subject's `expires_at` is `exp` plus the leeway, the time from which the token is
    /// refused. A client that logs in within the leeway is therefore not refused at its first
    /// topic.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Proof, TokenError> {
        let token = CompactToken::read(token)?;
        let (place, trusted) = self.issuer_of(&token).ok_or(TokenError::Issuer)?;
        let verified = trusted.check_signature(&token, now);
        if verified.as_ref().is_err_and(TokenError::may_pass_with_new_keys) {
            trusted.keys.request_refresh();
        }
        let (signer, generation) = verified?;
        let subject = Arc::new(trusted.check_claims(Claims(&token.claims), now)?);
        Ok(Proof { subject, signer, as_of: (place, generation) })
    }

    /// Whether `proof` was made with the current keys.
    pub fn is_current(&self, proof: &Proof, now: Timestamp) -> bool {
        let (place, generation) = proof.as_of;
        self.0.get(place).is_some_and(|trusted| trusted.keys.is_current(generation, now))
    }

    /// Whether the key that signed an earlier token is still an issuer's key. Before the first read
    /// of the keys, every key is. A missing key causes a refresh, because another replica may have
    /// verified the token with a newer key.
    pub fn trusts(&self, signer: &TokenSigner) -> bool {
        let Some(trusted) = self.0.iter().find(|trusted| trusted.hash == signer.issuer) else {
            return false;
        };
        let is_there = trusted.keys.may_hold(&signer.key);
        if !is_there {
            trusted.keys.request_refresh();
        }
        is_there
    }

    /// Verifies a token at a login: an unknown key causes one refresh, which the login waits for,
    /// less than a second.
    pub async fn verify_at_login(&self, token: &str, clock: Clock) -> Result<Proof, TokenError> {
        let refusal = match self.verify(token, clock()) {
            Err(refusal) if refusal.may_pass_with_new_keys() => refusal,
            result => return result,
        };
        let read = CompactToken::read(token)?;
        match self.issuer_of(&read) {
            Some((_, trusted)) if trusted.keys.wait_for_refresh().await => {
                self.verify(token, clock())
            }
            _ => Err(refusal),
        }
    }

    fn issuer_of(&self, token: &CompactToken<'_>) -> Option<(usize, &TrustedIssuer)> {
        let named = Claims(&token.claims).text("iss")?;
        self.0.iter().enumerate().find(|(_, trusted)| trusted.issuer.issuer == named)
    }
}

/// Shows only the issuers' names: keys and rules are long.
impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|trusted| &trusted.issuer.issuer)).finish()
    }
}

// === impl TrustedIssuer ===

impl TrustedIssuer {
    /// Finds the key that signed `token`, and returns it with the generation of the keys.
    fn check_signature(
        &self,
        token: &CompactToken<'_>,
        now: Timestamp,
    ) -> Result<(TokenSigner, u64), TokenError> {
        let issuer = || self.issuer.issuer.as_str().into();
        let (keys, generation) =
            self.keys.valid_at(now).ok_or_else(|| TokenError::KeysAway { issuer: issuer() })?;
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

    /// Checks the audience, the times and the required claims of a signed token, and returns its
    /// subject.
    fn check_claims(&self, claims: Claims<'_>, now: Timestamp) -> Result<Subject, TokenError> {
        let leeway = i64::from(self.issuer.leeway_seconds);
        if !self.issuer.audience.is_empty() && !claims.is_for(&self.issuer.audience) {
            return Err(TokenError::Audience);
        }
        let expires =
            claims.moment("exp")?.ok_or(TokenError::Missing("exp".into()))?.plus_seconds(leeway);
        if now >= expires {
            return Err(TokenError::Expired);
        }
        for claim in ["nbf", "iat"] {
            if claims.moment(claim)?.is_some_and(|from| now.plus_seconds(leeway) < from) {
                return Err(TokenError::NotYet { claim });
            }
        }
        if let Some(missing) =
            self.issuer.required_claims.iter().find(|path| claims.at(path).is_none())
        {
            return Err(TokenError::Missing(missing.as_str().into()));
        }
        claims.subject(&self.issuer.group_claims, &self.issuer.scope_claims, expires)
    }
}
