//! The API as a page of the console calls it: in this process, as the person who is signed in, by
//! the same routes, checks and limits as over HTTP.
//!
//! A page has no other way to data: what it shows, the API can answer.

use axum::body::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::call::{ApiCall, ApiCaller};
use super::signed_in::SignedIn;
use super::state::Api;
use crate::http::session::Sessions;

/// The largest response to a page, in bytes.
const MAX_PAGE_REPLY: usize = 4 * 1024 * 1024;

/// Calls the API for pages.
#[derive(Clone, Debug)]
pub struct PageApi {
    caller: ApiCaller,
}

/// A problem document in place of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ApiFault {
    /// The HTTP status code.
    pub status: u16,
    /// The kind of the problem.
    pub title: String,
    /// What happened, and what to do.
    pub detail: String,
    /// The fields that caused the problem.
    #[serde(default)]
    pub errors: Vec<FieldFault>,
}

/// What is wrong with one field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct FieldFault {
    /// The path of the field.
    pub field: String,
    /// What is wrong with it.
    pub detail: String,
}

// === impl PageApi ===

impl PageApi {
    /// For the API with this state, which shares its limits of concurrency.
    pub fn new(api: Api) -> Self {
        Self { caller: ApiCaller::new(api).with_responses_up_to(MAX_PAGE_REPLY) }
    }

    /// The people at the console.
    pub fn sessions(&self) -> &Sessions {
        self.caller.sessions()
    }

    /// The answer to `GET target`.
    pub async fn get<T: DeserializeOwned>(
        &self,
        person: &SignedIn,
        target: &str,
    ) -> Result<T, ApiFault> {
        self.call(person, "GET", target, Vec::new(), Bytes::new()).await
    }

    /// The answer to a change of one version of something: its `ETag` as a number.
    pub async fn send_for_version<T: DeserializeOwned>(
        &self,
        person: &SignedIn,
        method: &str,
        target: &str,
        version: i64,
        body: &(impl Serialize + Sync),
    ) -> Result<T, ApiFault> {
        let body =
            serde_json::to_vec(body).map_err(|error| ApiFault::internal(&error.to_string()))?;
        let headers = vec![("if-match".to_owned(), format!("\"{version}\""))];
        self.call(person, method, target, headers, body.into()).await
    }

    /// The answer to a change: `method` in upper case, `body` as JSON.
    pub async fn send<T: DeserializeOwned>(
        &self,
        person: &SignedIn,
        method: &str,
        target: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<T, ApiFault> {
        let body = match body.map(serde_json::to_vec).transpose() {
            Ok(body) => body.unwrap_or_default().into(),
            Err(error) => return Err(ApiFault::internal(&error.to_string())),
        };
        self.call(person, method, target, Vec::new(), body).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        person: &SignedIn,
        method: &str,
        target: &str,
        headers: Vec<(String, String)>,
        body: Bytes,
    ) -> Result<T, ApiFault> {
        let call = ApiCall {
            method: method.to_owned(),
            target: target.to_owned(),
            content_type: "application/json".to_owned(),
            headers,
            body,
            identity: person.identity(),
        };
        let reply = self.caller.call(call).await;
        if reply.status >= 400 {
            let fault = serde_json::from_slice(&reply.body);
            return Err(fault.unwrap_or_else(|error| ApiFault::internal(&error.to_string())));
        }
        serde_json::from_slice(&reply.body).map_err(|error| ApiFault::internal(&error.to_string()))
    }
}

// === impl ApiFault ===

impl ApiFault {
    /// A response that could not be made into a page; the log has the cause.
    pub(crate) fn unreadable() -> Self {
        Self::internal("rendering failed")
    }

    fn internal(cause: &str) -> Self {
        tracing::error!(cause, "reading a response of the API for a page failed");
        Self {
            status: 500,
            title: "Sluice failed".to_owned(),
            detail: "Sluice could not read the response of its API; its log has the cause"
                .to_owned(),
            errors: Vec::new(),
        }
    }
}
