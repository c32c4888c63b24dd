//! Signs people in by an identity provider: the code flow of `OpenID` Connect with PKCE.
//!
//! The provider is an issuer of `JWT_ISSUERS_PATH` or `JWT_ISSUER`: its keys verify the ID token. It
//! keeps no state: what a login must prove to have begun is in the browser's cookie. It stores
//! neither the code nor a token.

mod provider;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;

use super::tokens::claims::Claims;
use super::tokens::compact::CompactToken;
use super::tokens::error::TokenError;
use super::tokens::key_refresh::KeyRefresher;
use super::tokens::verify::{self, Verifier};
use crate::config::sections::console::OidcConfig;
use crate::config::sections::issuer::IssuerConfig;
use crate::domain::time::Clock;
use crate::domain::token::{NoRandomBytes, SecretToken, TokenHash};
use crate::telemetry::issuer_keys::IssuerKeyMetrics;
use provider::Provider;
pub(crate) use provider::ProviderError;

/// The claims that name a person, the first that is there.
const NAME_CLAIMS: [&str; 3] = ["preferred_username", "email", "sub"];

/// The longest name of a person, in characters.
const NAME_MAX: usize = 100;

/// A client of one identity provider.
#[derive(Debug)]
pub(crate) struct OidcClient {
    provider: Provider,
    verifier: Verifier,
    settings: OidcConfig,
    clock: Clock,
}

/// What the browser keeps while its person is at the provider, and nobody else knows.
pub(crate) struct PendingLogin {
    state: String,
    nonce: String,
    /// The secret behind the challenge: only who began the login can redeem its code.
    verifier: String,
}

/// A person as the provider names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OidcPerson {
    pub name: String,
    pub groups: Vec<Box<str>>,
}

/// Why the provider's answer signs no one in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OidcError {
    /// The provider does not answer as it must.
    #[error("the identity provider failed: {0}")]
    Provider(#[from] ProviderError),
    /// The ID token is not accepted.
    #[error("the ID token of the identity provider is not accepted: {0}")]
    Token(#[from] TokenError),
    /// The answer belongs to another login.
    #[error("the login was begun in another browser, or too long ago: begin again")]
    State,
    /// The ID token belongs to another login.
    #[error("the ID token of the identity provider belongs to another login: begin again")]
    Nonce,
    /// The ID token names no person.
    #[error("the ID token of the identity provider names no person")]
    NoName,
    /// The system returned no random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomBytes),
}

// === impl OidcClient ===

impl OidcClient {
    /// The client of this issuer, and the refresher of its keys, which the caller must run.
    pub(crate) fn open(
        settings: OidcConfig,
        issuer: &IssuerConfig,
        metrics: &IssuerKeyMetrics,
        clock: Clock,
    ) -> (Self, Vec<KeyRefresher>) {
        // An ID token is for the client; access tokens of other programs are not.
        let audience = vec![settings.client_id.clone()];
        let issuer = IssuerConfig { audience, required_claims: Vec::new(), ..issuer.clone() };
        let provider = Provider::new(&issuer);
        let (verifier, refreshers) = verify::open(vec![issuer], metrics, clock);
        (Self { provider, verifier, settings, clock }, refreshers)
    }

    /// Begins a login: the address at the provider, and what the browser must keep.
    pub(crate) async fn begin(&self) -> Result<(String, PendingLogin), OidcError> {
        let pending = PendingLogin::new()?;
        let endpoints = self.provider.endpoints((self.clock)()).await?;
        let challenge = URL_SAFE_NO_PAD.encode(TokenHash::of(&pending.verifier).0);
        let query = serde_urlencoded::to_string([
            ("response_type", "code"),
            ("client_id", &self.settings.client_id),
            ("redirect_uri", &self.settings.redirect_uri),
            ("scope", &self.settings.scopes),
            ("state", &pending.state),
            ("nonce", &pending.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        let query = query.unwrap_or_default();
        let separator = if endpoints.authorization.contains('?') { '&' } else { '?' };
        Ok((format!("{}{separator}{query}", endpoints.authorization), pending))
    }

    /// Ends a login: redeems the code, and verifies the ID token.
    pub(crate) async fn finish(
        &self,
        pending: &PendingLogin,
        state: &str,
        code: &str,
    ) -> Result<OidcPerson, OidcError> {
        if !bool::from(pending.state.as_bytes().ct_eq(state.as_bytes())) {
            return Err(OidcError::State);
        }
        let now = (self.clock)();
        let token = self.provider.redeem(&self.settings, code, &pending.verifier, now).await?;
        let proof = self.verifier.verify_at_login(&token, self.clock).await?;
        let read = CompactToken::read(&token)?;
        let claims = Claims(&read.claims);
        let nonce = claims.text("nonce").unwrap_or_default();
        if !bool::from(pending.nonce.as_bytes().ct_eq(nonce.as_bytes())) {
            return Err(OidcError::Nonce);
        }
        // With several audiences, `azp` says for which of them the token was made.
        if claims.text("azp").is_some_and(|client| client != self.settings.client_id) {
            return Err(TokenError::Audience.into());
        }
        let name = NAME_CLAIMS.iter().find_map(|claim| claims.text(claim));
        let name: String = name
            .unwrap_or_default()
            .chars()
            .filter(|sign| !sign.is_control())
            .take(NAME_MAX)
            .collect();
        if name.is_empty() {
            return Err(OidcError::NoName);
        }
        Ok(OidcPerson { name, groups: proof.subject.groups.clone() })
    }
}

// === impl PendingLogin ===

impl PendingLogin {
    fn new() -> Result<Self, NoRandomBytes> {
        let secret = || SecretToken::generate().map(SecretToken::into_text);
        Ok(Self { state: secret()?, nonce: secret()?, verifier: secret()? })
    }

    /// The value of the cookie.
    pub(crate) fn to_text(&self) -> String {
        format!("{}.{}.{}", self.state, self.nonce, self.verifier)
    }

    /// Reads the value of the cookie.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let mut part = || {
            let part = parts.next()?;
            let is_secret = part.len() == 64 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
            is_secret.then(|| part.to_owned())
        };
        let pending = Self { state: part()?, nonce: part()?, verifier: part()? };
        parts.next().is_none().then_some(pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_browser_keeps_reads_back() {
        let pending = PendingLogin::new().unwrap();
        let read = PendingLogin::from_text(&pending.to_text()).unwrap();
        assert_eq!(read.to_text(), pending.to_text());
        assert!(pending.state != pending.nonce && pending.nonce != pending.verifier);
        let text = pending.to_text();
        for wrong in ["", "a.b.c", &text[1..], &format!("{text}.x"), &text.replace('.', "")] {
            assert!(PendingLogin::from_text(wrong).is_none(), "{wrong}");
        }
    }
}
