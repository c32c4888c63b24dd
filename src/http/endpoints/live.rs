//! `/live`: the decisions about messages as this daemon makes them, as a stream or as a list of the
//! recent ones.
//!
//! A line stands for the decision, which comes before the commit. Opening a stream is audited.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::clock;
use crate::domain::ids::TenantId;
use crate::domain::live::LiveSearch;
use crate::http::api::extract::{Call, NoBody, NoParams};
use crate::http::api::params::Param;
use crate::http::api::problem::{Problem, ProblemKind};
use crate::http::api::route::OkJson;
use crate::http::api::state::Api;
use crate::http::live::LiveDesk;
use crate::http::live::body::EventStream;
use crate::http::live::stream::{LiveStream, StreamRequest};
use crate::http::views::live::{LiveLineView, RecentDecisionsView, trouble_texts};
use crate::store::registry::audit::{self, Entry};

/// Which decisions.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LiveParams {
    /// Only decisions that this search selects, such as `tenant:acme outcome:refused -pump-7`. The keys
    /// are tenant, device, type, outcome, reason and topic.
    search: Option<String>,
    /// Only decisions about messages of this tenant.
    tenant: Option<Param<TenantId>>,
}

/// `GET /live`.
pub(crate) async fn stream(
    api: Api,
    request: StreamRequest,
    call: Call<NoParams, LiveParams, NoBody>,
) -> Result<EventStream, Problem> {
    let desk = desk(&api)?;
    let tenant = call.query.tenant.as_ref().map(|Param(tenant)| tenant.as_str().to_owned());
    let search = call.query.read()?;
    let place = desk.take_place()?;
    let text = search.to_string();
    let entry = Entry {
        actor: &api.actor,
        action: "live.open",
        tenant: tenant.as_deref(),
        device: None,
        detail: json!({ "search": text }),
    };
    audit::note(api.database.pool(), entry).await?;
    let listener = desk.feed().listen(search);
    Ok(EventStream(LiveStream::new(api, desk, request, listener, place, text)))
}

/// `GET /live/recent`.
pub(crate) async fn recent(
    api: Api,
    call: Call<NoParams, LiveParams, NoBody>,
) -> Result<OkJson<RecentDecisionsView>, Problem> {
    let search = call.query.read()?;
    let recent = desk(&api)?.feed().recent(search, clock::now());
    Ok(OkJson(RecentDecisionsView {
        since: recent.since.to_utc(),
        // The route removes the payloads from the response to a viewer.
        items: recent.lines.into_iter().map(|line| LiveLineView::of(line, true)).collect(),
        matched: recent.counts.matched,
        shown: recent.counts.shown,
        troubles: trouble_texts(&api.readiness.troubles()),
    }))
}

// === impl LiveParams ===

impl LiveParams {
    fn read(self) -> Result<LiveSearch, Problem> {
        let tenant = self.tenant.map(|Param(tenant)| tenant);
        LiveSearch::read(self.search.as_deref().unwrap_or_default(), tenant)
            .map_err(|error| Problem::field("search", error.to_string()))
    }
}

// === private helpers ===

fn desk(api: &Api) -> Result<LiveDesk, Problem> {
    api.live.clone().ok_or_else(|| {
        Problem::new(ProblemKind::NotSetUp, "this process decides about no message: ask the daemon")
    })
}
