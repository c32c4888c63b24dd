//! A guest of an identity pool of Cognito: two unsigned POSTs, `GetId` and
//! `GetCredentialsForIdentity`.
//!
//! It keeps no credentials. A request follows no redirect, and has bounds of time and size.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::config::secret::Secret;
use crate::domain::time::{Clock, MICROS_PER_SECOND, Timestamp};
use crate::link::aws::cognito_error::{CognitoCall, CognitoError};
use crate::link::aws::identity::{GuestIdentity, IdentityKeeper};
use crate::link::aws::server_date::ClockDifference;
use crate::link::aws::signing_keys::AwsCredentials;
use crate::web_request::{Authorities, WebRequest};

/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest response: credentials have two kilobytes.
const MAX_BYTES: usize = 64 * 1024;

/// The type of the bodies. That of the responses is not checked.
const JSON: &str = "application/x-amz-json-1.1";

/// The pool of a link, and how to reach it.
#[derive(Debug)]
pub struct CognitoGuest {
    identity_pool_id: String,
    endpoint: String,
    ca_cert: Option<PathBuf>,
    identities: IdentityKeeper,
    clock: Clock,
    difference: Mutex<Option<ClockDifference>>,
}

/// Which pool, and where it is.
#[derive(Clone, Copy, Debug)]
pub struct CognitoPool<'a> {
    /// `identity_pool_id`.
    pub id: &'a str,
    /// `region`.
    pub region: &'a str,
    /// `cognito_endpoint`; `None`: that of the region.
    pub endpoint: Option<&'a str>,
    /// `ca_cert`: it counts for an endpoint that the file names, and not for that of the region.
    pub ca_cert: Option<&'a std::path::Path>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct IdAnswer {
    identity_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CredentialsAnswer {
    credentials: GuestCredentials,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GuestCredentials {
    access_key_id: String,
    secret_key: String,
    session_token: String,
    /// Seconds since 1970, with a fraction or without.
    expiration: f64,
}

// === impl CognitoGuest ===

impl CognitoGuest {
    /// A guest of `pool` whose identity `identities` keeps.
    pub fn new(pool: CognitoPool<'_>, identities: IdentityKeeper, clock: Clock) -> Self {
        let endpoint = pool.endpoint.map_or_else(|| endpoint_of(pool.region), str::to_owned);
        let ca_cert = pool.ca_cert.filter(|_| pool.endpoint.is_some()).map(PathBuf::from);
        let identity_pool_id = pool.id.to_owned();
        let difference = Mutex::default();
        Self { identity_pool_id, endpoint, ca_cert, identities, clock, difference }
    }

    /// Where the service is.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// New credentials. An identity that the pool no longer has is replaced once.
    pub async fn credentials(&self) -> Result<AwsCredentials, CognitoError> {
        let identity = self.identity().await?;
        match self.credentials_of(&identity).await {
            Err(error) if error.is_lost_identity() => {
                let identity = self.new_identity().await?;
                self.credentials_of(&identity).await
            }
            answer => answer,
        }
    }

    /// The kept identity, or a new one.
    pub async fn identity(&self) -> Result<String, CognitoError> {
        let kept = self.identities.get(&self.identity_pool_id).await;
        match kept.map_err(|outage| CognitoError::Identity(outage.0))? {
            Some(identity) => Ok(identity),
            None => self.new_identity().await,
        }
    }

    /// Credentials of an identity.
    pub async fn credentials_of(&self, identity: &str) -> Result<AwsCredentials, CognitoError> {
        let call = CognitoCall::GetCredentials;
        let body = json!({ "IdentityId": identity }).to_string();
        let found: CredentialsAnswer = self.call(call, &body).await?;
        let GuestCredentials { access_key_id, secret_key, session_token, expiration } =
            found.credentials;
        let obtained = (self.clock)();
        let expires = end_at(expiration)
            .ok_or_else(|| unreadable(call, "Expiration is no number of seconds"))?;
        if expires <= obtained {
            return Err(CognitoError::Ended { call, ended: expires.to_string() });
        }
        let secret = Secret::new(secret_key);
        let session_token = Some(Secret::new(session_token)).filter(|t| !t.expose().is_empty());
        let expires = Some(expires);
        Ok(AwsCredentials { access_key_id, secret, session_token, obtained, expires })
    }

    /// How the clock of this machine differed from that of the service at the last response.
    pub fn clock_difference(&self) -> Option<ClockDifference> {
        *self.difference.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn new_identity(&self) -> Result<String, CognitoError> {
        let pool = &self.identity_pool_id;
        let body = json!({ "IdentityPoolId": pool }).to_string();
        let found: IdAnswer = self.call(CognitoCall::GetId, &body).await?;
        let (identity_pool_id, identity_id) = (pool.clone(), found.identity_id.clone());
        self.identities.put(GuestIdentity { identity_pool_id, identity_id }).await;
        Ok(found.identity_id)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        call: CognitoCall,
        body: &str,
    ) -> Result<T, CognitoError> {
        let request = WebRequest {
            url: &self.endpoint,
            headers: &[("content-type", JSON), ("x-amz-target", call.target())],
            body: Some(body),
            authorities: Authorities { file: self.ca_cert.as_deref(), setting: "ca_cert" },
            time_limit: CALL_TIMEOUT,
            max_bytes: MAX_BYTES,
        };
        let response = request.send().await.map_err(|source| CognitoError::Unreachable {
            call,
            endpoint: self.endpoint.clone(),
            source,
        })?;
        let date = response.header("date").unwrap_or_default();
        self.compare_clocks(ClockDifference::find(date, (self.clock)()));
        if response.status() != 200 {
            return Err(CognitoError::refused(call, &response));
        }
        // The cause has a position and no content: the body contains secrets.
        serde_json::from_slice(response.body()).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            unreadable(call, &format!("expected its JSON, line {line}, column {column}"))
        })
    }

    fn compare_clocks(&self, found: Option<ClockDifference>) {
        let mut known = self.difference.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(difference) = found.filter(|_| known.is_none()) {
            tracing::warn!(
                endpoint = self.endpoint,
                "{difference}; AWS refuses signatures that are five minutes off; set the clock"
            );
        }
        *known = found;
    }
}

// --- private helpers ---

fn endpoint_of(region: &str) -> String {
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("https://cognito-identity.{region}.{domain}/")
}

fn unreadable(call: CognitoCall, why: &str) -> CognitoError {
    CognitoError::Unreadable { call, why: why.to_owned() }
}

#[expect(clippy::cast_possible_truncation, reason = "it was compared with the storable range")]
#[expect(clippy::cast_precision_loss, reason = "a million is exact")]
fn end_at(seconds: f64) -> Option<Timestamp> {
    let micros = seconds * MICROS_PER_SECOND as f64;
    let end = micros.is_finite().then(|| Timestamp::from_micros(micros as i64))?;
    end.is_storable().then_some(end)
}
