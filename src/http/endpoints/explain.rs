//! `/explain`: the result of every check for one message. It stores nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_shared::proof::ShortFingerprint;

use super::links::{links_file, no_link};
use super::quarantine::EventPath;
use crate::clock;
use crate::config::sections::ingest::IngestConfig;
use crate::domain::hex;
use crate::domain::link::LinkName;
use crate::domain::message::Delivery;
use crate::domain::publisher::{ProvenPublisher, Publisher};
use crate::domain::time::Timestamp;
use crate::http::api::extract::{Call, Json, NoBody, NoParams};
use crate::http::api::params::Param;
use crate::http::api::problem::Problem;
use crate::http::api::route::OkJson;
use crate::http::api::state::Api;
use crate::ingest::authorize::judge::Authentication;
use crate::ingest::explain::{self, End, ExplainVerdict, Explanation};
use crate::link::sample::{DROPPED, SampleMessage};
use crate::store::links::known;

/// A message to explain.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Message {
    /// The topic to which the device would publish it; with `link` the topic at the other broker.
    topic: String,
    /// The payload as text.
    payload: String,
    /// The identity at the broker that the message is proven to come from; without it the message has no proof.
    publisher: Option<String>,
    /// With `publisher`: the SHA-256 fingerprint of its certificate, 64 hexadecimal digits.
    publisher_certificate: Option<String>,
    /// The link that would deliver the message; without it, the local broker would.
    link: Option<Param<LinkName>>,
    /// With `link`: the Content Type of the message.
    content_type: Option<String>,
    /// With `link`: the User Properties of the message, such as the attributes of a `CloudEvent`.
    properties: Option<BTreeMap<String, String>>,
}

/// The outcome of the checks.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Explained {
    /// The device as `<tenant>/<device>`, if the topic names one.
    pub device: Option<String>,
    /// All checks in their order.
    pub checks: Vec<CheckMade>,
    /// Whether the message would be accepted.
    pub accepted: bool,
    /// The reason of the refusal; null if it is accepted.
    pub reason: Option<Cow<'static, str>>,
    /// The outcome in a sentence.
    pub why: String,
}

/// The outcome of one check.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct CheckMade {
    /// The reason that this check refuses with.
    pub check: Cow<'static, str>,
    /// `passed`, `refused`, `not reached`, `not tried` or `not needed`.
    pub verdict: Cow<'static, str>,
}

pub(crate) async fn explain(
    api: Api,
    call: Call<NoParams, NoParams, Json<Message>>,
) -> Result<OkJson<Explained>, Problem> {
    let Json(message) = call.body;
    let now = clock::now();
    let delivery = message.delivery(&api, now).await?;
    let explained =
        explain::explain(&api.database.directory(), &api.config.ingest, &delivery, now).await?;
    let mut answer = Explained::from(&explained);
    if delivery.arrival.is_some_and(|arrival| arrival.is_ignored) {
        DROPPED.clone_into(&mut answer.why);
    }
    Ok(OkJson(answer))
}

// === impl Message ===

impl Message {
    async fn delivery(self, api: &Api, now: Timestamp) -> Result<Delivery, Problem> {
        let publisher = self.publisher(now)?;
        let Self { topic, payload, link, content_type, properties, .. } = self;
        let payload = Bytes::from(payload);
        let Some(Param(name)) = link else {
            if content_type.is_some() || properties.is_some() {
                let detail = "expected `link`, too: the message of a device has neither content type nor properties";
                return Err(Problem::field("link", detail));
            }
            return Ok(of_device(topic, payload, publisher, now));
        };
        let set = links_file(api).await?.unwrap_or_default();
        let link = set.find(name.as_str()).ok_or_else(|| no_link(&name))?;
        let node = match &set.node {
            Some(node) => node.clone(),
            None => known::node(api.database.pool()).await?,
        };
        let properties = properties.unwrap_or_default().into_iter().collect();
        let message = SampleMessage { topic, payload, content_type, properties };
        Ok(message.delivery(link, &node, now))
    }
}

impl Message {
    /// The publisher that the daemon would find.
    fn publisher(&self, at: Timestamp) -> Result<Publisher, Problem> {
        let Some(identity) = self.publisher.clone() else { return Ok(Publisher::Missing) };
        let fingerprint = match &self.publisher_certificate {
            None => None,
            Some(text) => {
                let whole: Option<[u8; 32]> = hex::decode(text);
                let detail = "expected 64 hexadecimal digits in lower case";
                let whole = whole.ok_or_else(|| Problem::field("publisher_certificate", detail))?;
                Some(ShortFingerprint::of(&whole))
            }
        };
        Ok(Publisher::Proven(ProvenPublisher { identity: identity.into(), fingerprint, at }))
    }
}

/// `GET /quarantine/{id}/explain`: the same for a refused message as it is kept, with its token.
pub(crate) async fn explain_event(
    api: Api,
    call: Call<EventPath, NoParams, NoBody>,
) -> Result<OkJson<Explained>, Problem> {
    let Param(id) = call.path.id;
    let record = api.quarantine().find(id).await?.ok_or_else(|| Problem::no_event(id))?;
    // As a replay does: an unknown device is not registered, and the rate was charged before.
    let ingest =
        IngestConfig { rate_limit: None, auto_provision: false, ..api.config.ingest.clone() };
    let delivery = record.delivery();
    let explained =
        explain::explain(&api.database.directory(), &ingest, &delivery, clock::now()).await?;
    Ok(OkJson(Explained::from(&explained)))
}

// === impl Explained ===

impl From<&Explanation> for Explained {
    fn from(explanation: &Explanation) -> Self {
        let (reason, why) = match &explanation.end {
            End::Ignored => {
                (None, "ignored: the platform itself publishes on this topic".to_owned())
            }
            End::Accepted(proof) => (None, format!("accepted: {}", in_words(*proof))),
            End::Refused(refusal) => {
                (Some(refusal.reason.label().into()), refusal.detail.to_string())
            }
        };
        let checks = explanation.checks.iter();
        let checks = checks.map(|check| CheckMade {
            check: check.reason.label().into(),
            verdict: label(check.verdict).into(),
        });
        let device = explanation.device.as_ref().map(ToString::to_string);
        Self { device, checks: checks.collect(), accepted: reason.is_none(), reason, why }
    }
}

// === private helpers ===

fn label(verdict: ExplainVerdict) -> &'static str {
    match verdict {
        ExplainVerdict::Passed => "passed",
        ExplainVerdict::Refused => "refused",
        ExplainVerdict::NotReached => "not reached",
        ExplainVerdict::NotTried => "not tried",
        ExplainVerdict::NotNeeded => "not needed",
    }
}

fn in_words(proof: Authentication) -> &'static str {
    match proof {
        Authentication::Proof(Some(_)) => {
            "the broker's plugin proves that the device published it, with a valid certificate"
        }
        Authentication::Proof(None) => "the broker's plugin proves that the device published it",
        Authentication::Certificate => "the device has a valid certificate",
        Authentication::Token(_) => "the token is the device's own",
        Authentication::Link => "the link is authenticated by its own login",
        Authentication::NotRequired => {
            "no authentication is required (CERT_AUTH_ENABLED=0, REQUIRE_TOKEN=0)"
        }
    }
}

fn of_device(topic: String, payload: Bytes, publisher: Publisher, now: Timestamp) -> Delivery {
    Delivery {
        topic: topic.into(),
        payload,
        cut_from: None,
        held_since: now,
        received_at: now,
        dup: false,
        redelivered: false,
        maybe_repeated: false,
        ack: None,
        correlation: None,
        publisher,
        replay: None,
        arrival: None,
    }
}
