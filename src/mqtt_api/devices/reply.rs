//! The response to a device: what a route answers, or why the request is rejected, as one message.
//!
//! A rejection is the problem document of the HTTP API with the fields of a response.

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::request::RequestId;
use super::response_topic::ResponseTopics;
use crate::domain::exchange::{MAX_CORRELATION, OutgoingMessage};
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::time::Timestamp;
use crate::http::api::problem::{Document, Problem, ProblemKind};

/// The longest payload of a response, in bytes.
pub(super) const MAX_RESPONSE: usize = 64 * 1024;

/// The Message Expiry Interval of a response, in seconds.
const EXPIRES_SECONDS: u32 = 60;

/// A request that is done as it was wanted.
const OK: u16 = 200;

/// The device has the current state already.
const NOT_MODIFIED: u16 = 304;

/// The answer of a route.
#[derive(Debug)]
pub(super) struct RouteAnswer {
    status: u16,
    /// Numbers keep their digits.
    body: Box<RawValue>,
}

/// Why a request is rejected.
#[derive(Clone, Debug)]
pub(super) struct Rejection {
    problem: Problem,
    /// The reason that the same device's messages are refused with.
    reason: Option<Reason>,
    retry_after: Option<u64>,
    renew_at: Option<String>,
}

/// What a route returns.
pub(super) type ReplyResult = Result<RouteAnswer, Rejection>;

/// A response before it is written.
#[derive(Debug)]
pub(super) struct Reply {
    pub id: Option<RequestId>,
    pub result: ReplyResult,
}

/// The JSON of an accepted request.
#[derive(Serialize)]
struct AcceptedJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<RequestId>,
    status: u16,
    time: String,
    body: Box<RawValue>,
}

/// The JSON of a rejected request.
#[derive(Serialize)]
struct RejectedJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<RequestId>,
    #[serde(flatten)]
    problem: Document,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    renew_at: Option<String>,
}

// === impl RouteAnswer ===

impl RouteAnswer {
    /// Status 200 with this body.
    pub(super) fn json(body: &impl Serialize) -> ReplyResult {
        let body = to_raw_value(body).map_err(|error| {
            let detail = format!("the response is no JSON: {error}; report this as a defect");
            Rejection::from(Problem::new(ProblemKind::Internal, detail))
        })?;
        Ok(Self { status: OK, body })
    }

    /// Status 304: what the device has is current.
    #[must_use]
    pub(super) fn not_modified(self) -> Self {
        Self { status: NOT_MODIFIED, ..self }
    }
}

impl From<Value> for RouteAnswer {
    fn from(body: Value) -> Self {
        // A value is always JSON.
        let body = to_raw_value(&body).unwrap_or_default();
        Self { status: OK, body }
    }
}

// === impl Rejection ===

impl Rejection {
    /// Adds after how many seconds the device may send the request again.
    #[must_use]
    pub(super) fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// Adds the address at which the device renews.
    #[must_use]
    pub(super) fn renew_at(self, address: &str) -> Self {
        Self { renew_at: Some(address.to_owned()), ..self }
    }

    /// Whether Postgres is the cause.
    pub(super) fn is_outage(&self) -> bool {
        self.problem.kind == ProblemKind::Unavailable
    }

    /// Adds when to try again to an outage that does not say it.
    #[must_use]
    pub(super) fn or_retry_after(self, seconds: u64) -> Self {
        Self { retry_after: self.retry_after.or(Some(seconds)), ..self }
    }
}

impl From<Problem> for Rejection {
    fn from(problem: Problem) -> Self {
        Self { problem, reason: None, retry_after: None, renew_at: None }
    }
}

impl From<&Refusal> for Rejection {
    fn from(refusal: &Refusal) -> Self {
        let kind = match refusal.reason {
            Reason::TokenMissing | Reason::PublisherUnproven => ProblemKind::ProofMissing,
            Reason::TokenInvalid | Reason::PublisherMismatch => ProblemKind::ProofWrong,
            _ => ProblemKind::DeviceRefused,
        };
        let problem = Problem::new(kind, refusal.detail.clone());
        Self { reason: Some(refusal.reason), ..Self::from(problem) }
    }
}

// === impl Reply ===

impl Reply {
    /// The message, and its status.
    pub(super) fn into_message(
        self,
        topics: ResponseTopics,
        correlation: Option<&Bytes>,
        now: Timestamp,
    ) -> (OutgoingMessage, u16) {
        let (payload, status) = self.into_json(now);
        let topic = if status < 400 { topics.accepted } else { topics.rejected };
        let message = OutgoingMessage {
            correlation: correlation.filter(|given| given.len() <= MAX_CORRELATION).cloned(),
            user_properties: vec![("status", status.to_string())],
            ..OutgoingMessage::json(topic, payload).expiring(EXPIRES_SECONDS)
        };
        (message, status)
    }

    fn into_json(self, now: Timestamp) -> (Vec<u8>, u16) {
        let Self { id, result } = self;
        let rejection = match result {
            Err(rejection) => rejection,
            Ok(RouteAnswer { status, body }) => {
                let (id, time) = (id.clone(), now.to_string());
                let json = to_bytes(&AcceptedJson { id, status, time, body });
                if json.len() <= MAX_RESPONSE {
                    return (json, status);
                }
                let detail = format!(
                    "the response has {} bytes; a response has at most {MAX_RESPONSE}: request less",
                    json.len()
                );
                Problem::new(ProblemKind::TooLarge, detail).into()
            }
        };
        let Rejection { problem, reason, retry_after, renew_at } = rejection;
        let status = problem.status();
        let json = RejectedJson {
            id,
            problem: problem.document(),
            reason: reason.map(Reason::label),
            time: now.to_string(),
            retry_after,
            renew_at,
        };
        (to_bytes(&json), status)
    }
}

/// Both shapes hold only strings, numbers and JSON values, so serialization does not fail.
fn to_bytes(json: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(json).unwrap_or_default()
}
