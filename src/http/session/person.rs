//! Finds the person of a request: by the cookie of a session, or by the token of an operator.
//!
//! Each request reads Postgres, so that a logout, a new role and a removal hold at once in all
//! replicas.

use axum::http::request::Parts;
use tokio::time::timeout;

use super::cookie::SessionSecret;
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
        match SessionSecret::of(&parts.headers, &arrival) {
            Some(secret) => {
                let person = self.person_of(&secret).await?;
                self.recent().note(secret.hash(), person.as_ref(), self.now());
                Ok(person)
            }
            None => Ok(None),
        }
    }

    /// The person of a session that was valid in the last minutes: only while Postgres does not
    /// answer, and only to look at what needs no Postgres.
    pub fn recent_person(&self, parts: &Parts) -> Option<SignedIn> {
        let secret = SessionSecret::of(&parts.headers, &self.arrival(parts))?;
        self.recent().find(secret.hash(), self.now()).cloned()
    }

    /// The operator whose token this is.
    pub(crate) async fn operator(&self, token: &[u8]) -> Result<Option<Person>, Outage> {
        if !is_operator_token(token) {
            return Ok(None);
        }
        let pool = self.shared.database.pool();
        self.look_up(operators::find(pool, TokenHash::of(token))).await
    }

    async fn person_of(&self, secret: &SessionSecret) -> Result<Option<SignedIn>, Outage> {
        let now = self.now();
        let pool = self.shared.database.pool();
        let find = sessions::find(pool, secret.hash(), now, self.idle_since(now));
        let Some(found) = self.look_up(find).await? else { return Ok(None) };
        if !self.is_proven(secret, found.proof) {
            return Ok(None);
        }
        let Person { name, role, tenant } = found.person;
        Ok(Some(SignedIn { name, role, tenant, csrf: secret.csrf() }))
    }

    /// Whether `ADMIN_TOKEN` is still the one that opened the session, if one did.
    fn is_proven(&self, secret: &SessionSecret, proof: Option<TokenHash>) -> bool {
        let Some(proof) = proof else { return true };
        let admin_token = self.shared.admin_token.as_ref();
        admin_token.is_some_and(|token| secret.proof_of(token).equals(&proof))
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
