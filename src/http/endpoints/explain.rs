//! `/explain`: the result of every check for one message. It stores nothing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::domain::message::Delivery;
use crate::http::api::extract::{Call, Json, NoParams};
use crate::http::api::problem::Problem;
use crate::http::api::route::OkJson;
use crate::http::api::state::Api;
use crate::ingest::authorize::judge::Authentication;
use crate::ingest::explain::{self, End, ExplainVerdict, Explanation};

/// A message.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Message {
    /// The topic it would be published to.
    topic: String,
    /// Its payload, as the text the device would send.
    payload: String,
}

/// What would become of it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Explained {
    /// `<tenant>/<device>`, when the topic names one.
    device: Option<String>,
    /// Every check, in order.
    checks: Vec<CheckMade>,
    accepted: bool,
    /// The reason it would be refused for.
    reason: Option<&'static str>,
    /// How it ends, in a sentence.
    why: String,
}

/// One check.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct CheckMade {
    /// The reason it would give.
    check: &'static str,
    /// `passed`, `refused`, `not reached` or `not needed`.
    verdict: &'static str,
}

pub(crate) async fn explain(
    api: Api,
    call: Call<NoParams, NoParams, Json<Message>>,
) -> Result<OkJson<Explained>, Problem> {
    let Json(Message { topic, payload }) = call.body;
    let now = clock::now();
    let delivery = Delivery {
        topic: topic.into(),
        payload: payload.into(),
        cut_from: None,
        held_since: now,
        received_at: now,
        dup: false,
        redelivered: false,
        maybe_repeated: false,
        ack: None,
        replay: None,
    };
    let explained =
        explain::explain(&api.database.directory(), &api.config.ingest, &delivery, now).await?;
    Ok(OkJson(Explained::from(&explained)))
}

// === impl Explained ===

impl From<&Explanation> for Explained {
    fn from(explanation: &Explanation) -> Self {
        let (reason, why) = match &explanation.end {
            End::Ignored => (None, "ignored: the platform's own voice".to_owned()),
            End::Accepted(proof) => (None, format!("accepted: {}", in_words(*proof))),
            End::Refused(refusal) => (Some(refusal.reason.label()), refusal.detail.to_string()),
        };
        let checks = explanation.checks.iter();
        let checks = checks
            .map(|check| CheckMade { check: check.reason.label(), verdict: label(check.verdict) });
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
        Authentication::Certificate => "the device holds a certificate that is good now",
        Authentication::Token(_) => "the token is the device's",
        Authentication::NotRequired => {
            "no proof is asked for (CERT_AUTH_ENABLED=0, REQUIRE_TOKEN=0)"
        }
    }
}
