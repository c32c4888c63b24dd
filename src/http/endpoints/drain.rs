//! `/replica/drain`: orders the drain of the daemon that answers, and shows how far it is.
//!
//! It only orders: the session with the broker drains, and the daemon ends by itself afterwards.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::http::api::extract::{Call, Json, NoBody, NoParams};
use crate::http::api::problem::{Problem, ProblemKind};
use crate::http::api::route::OkJson;
use crate::http::api::state::Api;
use crate::lifecycle::draining::{DrainPhase, DrainState};
use crate::registry::replicas::{self, DrainRefusal};

/// The order to drain.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DrainOrder {
    /// Drain also if no other replica of the share group runs: the broker then drops what devices publish.
    #[serde(default)]
    last: bool,
}

/// The drain of a daemon.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Drain")]
pub(crate) struct DrainView {
    /// The `MQTT_CLIENT_ID` of the daemon.
    pub(crate) client_id: String,
    /// `off`, `ordered`, `unsubscribed`, `session_ended`, `done`, or `given_up`.
    pub(crate) phase: String,
    /// Why it was given up.
    pub(crate) detail: Option<String>,
    /// The messages that were stored and acknowledged since the order.
    pub(crate) messages: u64,
    /// The messages that are received and not acknowledged.
    pub(crate) unacknowledged: u64,
}

pub(crate) async fn order(
    api: Api,
    call: Call<NoParams, NoParams, Json<DrainOrder>>,
) -> Result<OkJson<DrainView>, Problem> {
    let Json(DrainOrder { last }) = call.body;
    replicas::order_drain(&api.drain, &api.database, &api.config, &api.actor, last).await?;
    Ok(OkJson(DrainView::of(&api)))
}

pub(crate) async fn show(
    api: Api,
    _: Call<NoParams, NoParams, NoBody>,
) -> Result<OkJson<DrainView>, Problem> {
    Ok(OkJson(DrainView::of(&api)))
}

// === impl DrainView ===

impl DrainView {
    fn of(api: &Api) -> Self {
        let DrainState { phase, taken, unacknowledged, .. } = api.drain.state();
        let label = phase.label().to_owned();
        let detail = if let DrainPhase::GivenUp(why) = phase { Some(why) } else { None };
        Self {
            client_id: api.config.broker.client_id.clone(),
            phase: label,
            detail,
            messages: taken,
            unacknowledged,
        }
    }
}

impl From<DrainRefusal> for Problem {
    fn from(refusal: DrainRefusal) -> Self {
        match refusal {
            DrainRefusal::Outage(outage) => outage.into(),
            refusal => Self::new(ProblemKind::Conflict, refusal.to_string()),
        }
    }
}
