//! Finds the person of a request: by the headers of a trusted proxy, by the cookie of a session, or
//! by the token of an operator.
//!
//! Each request reads Postgres, so that a logout, a new role and a removal hold at once in all
//! replicas.

use axum::http::request::Parts;
use tokio::time::timeout;

use super::arrival::Arrival;
use super::cookie::SessionSecret;
use super::proxy::ProxyClaim;
use super::{LOOKUP_PATIENCE, Sessions};
use crate::domain::operator::{Person, is_operator_token};
use crate::domain::ports::Outage;
use crate::domain::token::TokenHash;
use crate::http::api::signed_in::SignedIn;
use crate::store::console::{operators, sessions};

// === impl Sessions ===

impl Sessions {
    /// The person whose browser sends the request; `None`: it has no valid session.
    pub async fn person(&self, parts: &Parts) -> Result<Option<SignedIn>, Outage> {
        let arrival = self.arrival(parts);
        if !arrival.has_own_name {
            return Ok(None);
        }
        let secret = SessionSecret::of(&parts.headers, &arrival);
        match ProxyClaim::of(&parts.headers, &arrival, &self.shared.settings) {
            ProxyClaim::Person(person) => return Ok(of_proxy(person, secret, &arrival)),
            ProxyClaim::Foreign => self.note_foreign_headers(&arrival),
            ProxyClaim::None | ProxyClaim::NoRole => (),
        }
        let Some(secret) = secret else { return Ok(None) };
        let person = self.person_of(&secret).await?;
        self.recent().note(secret.hash(), person.as_ref(), self.now());
        Ok(person.map(|person| SignedIn::of(person, &secret)))
    }

    /// The person of a session that was valid in the last minutes: only while Postgres does not
    /// answer, and only to look at what needs no Postgres.
    pub fn recent_person(&self, parts: &Parts) -> Option<SignedIn> {
        let arrival = self.arrival(parts);
        let secret =
            SessionSecret::of(&parts.headers, &arrival).filter(|_| arrival.has_own_name)?;
        let person = self.recent().find(secret.hash(), self.now()).cloned()?;
        Some(SignedIn::of(person, &secret))
    }

    /// The operator whose token this is.
    pub(crate) async fn operator(&self, token: &[u8]) -> Result<Option<Person>, Outage> {
        if !is_operator_token(token) {
            return Ok(None);
        }
        let pool = self.shared.database.pool();
        self.look_up(operators::find(pool, TokenHash::of(token))).await
    }

    async fn person_of(&self, secret: &SessionSecret) -> Result<Option<Person>, Outage> {
        let now = self.now();
        let pool = self.shared.database.pool();
        let find = sessions::find(pool, secret.hash(), now, self.idle_since(now));
        let Some(found) = self.look_up(find).await? else { return Ok(None) };
        if !self.is_proven(secret, found.proof) {
            return Ok(None);
        }
        Ok(Some(found.person))
    }

    /// Whether `ADMIN_TOKEN` is still the one that opened the session, if one did.
    fn is_proven(&self, secret: &SessionSecret, proof: Option<TokenHash>) -> bool {
        let Some(proof) = proof else { return true };
        let admin_token = self.shared.admin_token.as_ref();
        admin_token.is_some_and(|token| secret.proof_of(token).equals(&proof))
    }

    fn note_foreign_headers(&self, arrival: &Arrival) {
        if let Some(more) = self.foreign_log().ready(self.now()) {
            tracing::warn!(
                address = %arrival.client,
                more,
                "ignored X-Auth-Request-User: the address is not in CONSOLE_TRUSTED_PROXIES; the browser gets the login page"
            );
        }
    }

    /// Runs one look-up within its time.
    pub(super) async fn look_up<T>(
        &self,
        query: impl Future<Output = Result<T, Outage>>,
    ) -> Result<T, Outage> {
        let permitted = async {
            let _permit = self.shared.lookups.acquire().await;
            query.await
        };
        timeout(LOOKUP_PATIENCE, permitted).await.unwrap_or_else(|_| {
            let seconds = LOOKUP_PATIENCE.as_secs();
            Err(Outage(format!("Postgres did not answer within {seconds} s")))
        })
    }
}

// === impl SignedIn ===

impl SignedIn {
    /// The person of the session with this secret.
    fn of(person: Person, secret: &SessionSecret) -> Self {
        let Person { name, role, tenant } = person;
        Self { name, role, tenant, csrf: secret.csrf(), new_cookie: None }
    }
}

// === private helpers ===

/// The person of a proxy has no row: the proxy says with each request who it is. The cookie only
/// ties changes to the pages of this browser.
fn of_proxy(person: Person, secret: Option<SessionSecret>, arrival: &Arrival) -> Option<SignedIn> {
    let (secret, is_new) = match secret {
        Some(secret) => (secret, false),
        None => (SessionSecret::generate().ok()?, true),
    };
    let Person { name, role, tenant } = person;
    let new_cookie = is_new.then(|| secret.set_cookie(arrival));
    Some(SignedIn { name, role, tenant, csrf: secret.csrf(), new_cookie })
}
