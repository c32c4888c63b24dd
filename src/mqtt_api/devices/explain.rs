//! `explain`: why a message of the device would be accepted or refused.
//!
//! It explains messages of the device's own topics only, and stores nothing.

use serde::Deserialize;
use serde_json::Value;

use super::call::DeviceCall;
use super::reply::{ReplyResult, RouteAnswer};
use crate::domain::device::RegistryAnswer;
use crate::domain::ids::DeviceKey;
use crate::domain::message::Delivery;
use crate::domain::ports::{Directory, Newcomer, Outage};
use crate::domain::topic::Owned;
use crate::http::api::problem::{Problem, ProblemKind};
use crate::http::endpoints::explain::Explained;
use crate::ingest::explain;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainParams {
    topic: String,
    /// The payload as text, or as the JSON that the text would hold.
    payload: Value,
}

/// The registry's answer for the device that asks: the one that its messages are judged by.
struct KnownAnswer(RegistryAnswer);

pub(super) async fn answer(call: &DeviceCall<'_>) -> ReplyResult {
    let ExplainParams { topic, payload } = call.params()?;
    let is_own =
        Owned::parse(topic.as_bytes()).is_ok_and(|owned| owned.identity == call.device.identity());
    if !is_own {
        let detail = format!(
            "topic: a device gets explanations of messages below tenant/{}/ only",
            call.device.identity()
        );
        return Err(Problem::new(ProblemKind::DeviceRefused, detail).into());
    }
    let payload = match payload {
        Value::String(text) => text,
        json => json.to_string(),
    };
    let delivery = Delivery {
        topic: topic.into(),
        payload: payload.into(),
        cut_from: None,
        held_since: call.now,
        received_at: call.now,
        dup: false,
        redelivered: false,
        maybe_repeated: false,
        ack: None,
        correlation: None,
        publisher: call.publisher.clone(),
        replay: None,
        arrival: None,
    };
    let known = RegistryAnswer { tenant_suspended: false, device: call.registered.cloned() };
    let config = &call.services.config.ingest;
    let explanation = explain::explain(&KnownAnswer(known), config, &delivery, call.now)
        .await
        .map_err(Problem::from)?;
    RouteAnswer::json(&Explained::from(&explanation))
}

// === impl KnownAnswer ===

impl Directory for KnownAnswer {
    async fn find(&self, keys: &[DeviceKey]) -> Result<Vec<RegistryAnswer>, Outage> {
        Ok(keys.iter().map(|_| self.0.clone()).collect())
    }

    async fn enroll(&self, _: &[Newcomer]) -> Result<(), Outage> {
        Err(Outage("an explanation registers no device".into()))
    }
}
