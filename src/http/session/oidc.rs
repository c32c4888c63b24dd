//! Signs a person in by an identity provider, and keeps what the login must prove in a cookie.
//!
//! The cookie lives for ten minutes. The person's groups decide the role; without a role there is no
//! session.

use axum::http::header::COOKIE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};

use super::Sessions;
use super::arrival::Arrival;
use super::sign_in::{Proven, SignInError};
use crate::access::oidc::{OidcClient, OidcError, PendingLogin};
use crate::domain::caller::role_of_groups;
use crate::domain::operator::{Person, SignInMethod};
use crate::telemetry::console::LoginResult;

/// The names of the cookie, over HTTPS and where TLS is absent.
const OVER_HTTPS: &str = "__Host-sluice_login";
const OVER_HTTP: &str = "sluice_login";

/// How long a person may take at the provider, in seconds.
const PENDING_SECONDS: u32 = 600;

// === impl Sessions ===

impl Sessions {
    /// The name of the identity provider, if people can sign in by one.
    pub fn provider(&self) -> Option<&str> {
        self.shared
            .oidc
            .as_ref()
            .map(|_| self.shared.settings.oidc.as_ref().map_or("", |oidc| oidc.issuer.as_str()))
    }

    /// Begins a login: the address at the provider, and the header that sets the cookie.
    pub async fn begin_at_provider(
        &self,
        parts: &Parts,
    ) -> Result<(String, HeaderValue), SignInError> {
        let arrival = self.arrival(parts);
        self.admit(&arrival)?;
        let (target, pending) =
            self.client()?.begin().await.map_err(|error| self.provider_failed(&error))?;
        self.attempts().refund(arrival.client, self.now());
        let cookie = cookie(&arrival, &pending.to_text(), PENDING_SECONDS);
        Ok((target, cookie))
    }

    /// Ends a login: opens a session for the person of the code. Returns the headers that set its
    /// cookie and remove the other one.
    pub async fn sign_in_by_code_of_provider(
        &self,
        parts: &Parts,
        state: &str,
        code: &str,
    ) -> Result<[HeaderValue; 2], SignInError> {
        let arrival = self.arrival(parts);
        self.admit(&arrival)?;
        let pending = pending(&parts.headers, &arrival);
        let pending = pending.ok_or_else(|| self.provider_failed(&OidcError::State))?;
        let found = self.client()?.finish(&pending, state, code).await;
        let found = found.map_err(|error| self.provider_failed(&error))?;
        let grant = role_of_groups(&self.shared.settings.group_roles, &found.groups);
        let Some(grant) = grant else {
            self.note_refusal(&arrival, "oidc").await;
            return Err(SignInError::NoRole(found.name));
        };
        let person = Person { name: found.name, role: grant.role, tenant: grant.tenant.clone() };
        let proven = Proven { person, method: SignInMethod::Oidc, operator: None };
        let opened = self.finish(&arrival, Some(proven), "oidc").await?;
        Ok([opened, cookie(&arrival, "", 0)])
    }

    fn client(&self) -> Result<&OidcClient, SignInError> {
        self.shared.oidc.as_ref().ok_or(SignInError::Wrong)
    }

    fn provider_failed(&self, error: &OidcError) -> SignInError {
        self.shared.metrics.logins(LoginResult::Failed).inc();
        tracing::warn!(
            "a login by the identity provider failed: {error}; the browser gets the login page"
        );
        SignInError::Provider(error.to_string())
    }
}

// === private helpers ===

const fn name(arrival: &Arrival) -> &'static str {
    if arrival.is_https { OVER_HTTPS } else { OVER_HTTP }
}

fn cookie(arrival: &Arrival, value: &str, seconds: u32) -> HeaderValue {
    let secure = if arrival.is_https { "; Secure" } else { "" };
    let text = format!(
        "{}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}",
        name(arrival)
    );
    // The text has ASCII letters, digits and signs only.
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn pending(headers: &HeaderMap, arrival: &Arrival) -> Option<PendingLogin> {
    let wanted = name(arrival);
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == wanted).then_some(value)
    });
    PendingLogin::from_text(pairs.next()?)
}
