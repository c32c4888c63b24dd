//! Signs a person in, by a token or by a one-time link, and out.
//!
//! A login always makes a new secret: a cookie that was there before never becomes a session.

use axum::http::HeaderValue;
use axum::http::request::Parts;

use super::arrival::Arrival;
use super::cookie::{SessionSecret, clear_cookie};
use super::{Sessions, whole_seconds};
use crate::domain::caller::CallerRole;
use crate::domain::operator::{ADMIN_NAME, OperatorName, Person, SignInMethod};
use crate::domain::ports::Outage;
use crate::domain::token::{NoRandomBytes, TokenHash};
use crate::http::api::signed_in::SignedIn;
use crate::store::console::sessions::NewSession;
use crate::store::console::{login_codes, operators, sessions};
use crate::store::registry::audit::Actor;
use crate::telemetry::console::LoginResult;

/// Why a person is not signed in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    /// The address tried too often; it may try again after so many seconds.
    #[error("Too many tries from this address. Try again in {0} s.")]
    TooMany(u64),
    /// The token or the code is wrong, used or expired.
    #[error("The token or the code is wrong.")]
    Wrong,
    /// The person's groups give no role.
    #[error("{0} has no role here: none of the groups is in CONSOLE_GROUP_ROLES.")]
    NoRole(String),
    /// The identity provider failed.
    #[error("Sign in again: {0}.")]
    Provider(String),
    /// The request names another host.
    #[error(
        "The console has another address: use CONSOLE_URL, or localhost on the machine of the daemon."
    )]
    WrongHost,
    /// The request came by plain HTTP from a public address.
    #[error(
        "From a public address the console needs HTTPS. Put a proxy with TLS in front of HTTP_BIND and name it in \
         CONSOLE_TRUSTED_PROXIES, or see CONSOLE_HTTPS."
    )]
    NeedsHttps,
    /// Postgres does not answer.
    #[error("Postgres does not answer: {0}. Try again.")]
    Outage(Outage),
    /// The system returned no random bytes.
    #[error(
        "The system returned no random bytes for a session. Check that getrandom(2) works here."
    )]
    NoSecret,
}

/// Who signs in, and how.
pub(super) struct Proven {
    pub person: Person,
    pub method: SignInMethod,
    pub operator: Option<OperatorName>,
}

// === impl Sessions ===

impl Sessions {
    /// Opens a session by `ADMIN_TOKEN` or by the token of an operator. Returns the header that sets
    /// its cookie.
    pub async fn sign_in_by_token(
        &self,
        parts: &Parts,
        token: &str,
    ) -> Result<HeaderValue, SignInError> {
        let arrival = self.arrival(parts);
        self.admit(&arrival)?;
        let token = token.trim();
        let is_admin = self.shared.admin_token.as_ref().is_some_and(|hash| hash.matches(token));
        // The look-up also runs for ADMIN_TOKEN: the time does not say which token was right.
        let find = operators::find(self.shared.database.pool(), TokenHash::of(token));
        let found = self.look_up(find).await;
        let proven = match found {
            Ok(_) if is_admin => Some(Proven::admin()),
            Ok(found) => found.and_then(Proven::operator),
            Err(outage) => return Err(self.failed(outage)),
        };
        self.finish(&arrival, proven, "token").await
    }

    /// Opens a session by the code of a one-time link.
    pub async fn sign_in_by_code(
        &self,
        parts: &Parts,
        code: &str,
    ) -> Result<HeaderValue, SignInError> {
        let arrival = self.arrival(parts);
        self.admit(&arrival)?;
        let pool = self.shared.database.pool();
        let redeem = login_codes::redeem(pool, TokenHash::of(code.trim()), self.now());
        let person = self.look_up(redeem).await.map_err(|outage| self.failed(outage))?;
        let proven =
            person.map(|person| Proven { person, method: SignInMethod::Link, operator: None });
        self.finish(&arrival, proven, "link").await
    }

    /// Ends the session of a request. Returns the header that removes its cookie.
    pub async fn sign_out(&self, parts: &Parts, person: &SignedIn) -> Result<HeaderValue, Outage> {
        let arrival = self.arrival(parts);
        if let Some(secret) = SessionSecret::of(&parts.headers, &arrival) {
            let actor = Actor::of_console(&person.name);
            self.look_up(sessions::close(self.shared.database.pool(), &actor, secret.hash()))
                .await?;
            self.recent().note(secret.hash(), None, self.now());
        }
        Ok(clear_cookie(&arrival))
    }

    /// Whether a try may be made at all.
    pub(super) fn admit(&self, arrival: &Arrival) -> Result<(), SignInError> {
        if !arrival.has_own_name {
            return Err(SignInError::WrongHost);
        }
        if !arrival.may_sign_in {
            return Err(SignInError::NeedsHttps);
        }
        let charged = self.attempts().charge(arrival.client, self.now());
        charged.map_err(|seconds| {
            self.shared.metrics.logins(LoginResult::RateLimited).inc();
            SignInError::TooMany(seconds)
        })
    }

    pub(super) async fn finish(
        &self,
        arrival: &Arrival,
        proven: Option<Proven>,
        what: &'static str,
    ) -> Result<HeaderValue, SignInError> {
        let Some(proven) = proven else {
            self.note_refusal(arrival, what).await;
            return Err(SignInError::Wrong);
        };
        let secret =
            SessionSecret::generate().map_err(|NoRandomBytes { .. }| SignInError::NoSecret)?;
        let now = self.now();
        let is_admin = proven.method == SignInMethod::AdminToken;
        let admin_token = self.shared.admin_token.filter(|_| is_admin);
        let new = NewSession {
            hash: secret.hash(),
            person: &proven.person,
            method: proven.method,
            operator: proven.operator.as_ref(),
            proof: admin_token.map(|token| secret.proof_of(&token)),
            address: arrival.client.to_string(),
            now,
            expires_at: now.plus_seconds(whole_seconds(self.shared.settings.session)),
        };
        let opened = self.look_up(sessions::open(self.shared.database.pool(), &new)).await;
        opened.map_err(|outage| self.failed(outage))?;
        self.attempts().refund(arrival.client, now);
        self.shared.metrics.logins(LoginResult::Opened).inc();
        Ok(secret.set_cookie(arrival))
    }

    /// Counts and audits a refused try. The audit entry is not worth an error.
    pub(super) async fn note_refusal(&self, arrival: &Arrival, what: &'static str) {
        self.shared.metrics.logins(LoginResult::Refused).inc();
        if !self.attempts().may_audit(self.now()) {
            return;
        }
        let address = arrival.client.to_string();
        let record = sessions::record_refusal(self.shared.database.pool(), &address, what);
        if let Err(outage) = self.look_up(record).await {
            tracing::warn!(
                "the audit entry of a refused login could not be written: {outage}; only the metric counts it"
            );
        }
    }

    fn failed(&self, outage: Outage) -> SignInError {
        self.shared.metrics.logins(LoginResult::Failed).inc();
        SignInError::Outage(outage)
    }
}

// === impl Proven ===

impl Proven {
    fn admin() -> Self {
        let person = Person { name: ADMIN_NAME.to_owned(), role: CallerRole::Admin, tenant: None };
        Self { person, method: SignInMethod::AdminToken, operator: None }
    }

    fn operator(person: Person) -> Option<Self> {
        let operator = person.name.parse().ok()?;
        Some(Self { person, method: SignInMethod::Operator, operator: Some(operator) })
    }
}
