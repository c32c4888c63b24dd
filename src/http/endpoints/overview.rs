//! `/overview`: how the daemon and its fleet are, on one page.
//!
//! The daemon's own side needs no Postgres and is always there. What Postgres has is some seconds
//! old at most, or the answer says what is missing and why.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::clock;
use crate::domain::ids::TenantId;
use crate::http::api::extract::{Call, NoBody, NoParams};
use crate::http::api::params::Param;
use crate::http::api::problem::Problem;
use crate::http::api::route::OkJson;
use crate::http::api::state::Api;
use crate::http::component_health::components;
use crate::http::fleet_cache::KnownFleet;
use crate::http::views::overview::{
    CertificateNumbersView, DaemonView, FlowView, LastRevocationView, OverviewView, ReasonView,
    ReplicaView,
};

/// What the overview is about.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OverviewParams {
    /// Only the numbers of this tenant, and nothing of the daemon's flow.
    tenant: Option<Param<TenantId>>,
}

pub(crate) async fn show(
    api: Api,
    call: Call<NoParams, OverviewParams, NoBody>,
) -> Result<OkJson<OverviewView>, Problem> {
    let tenant = call.query.tenant.as_ref().map(|Param(tenant)| tenant);
    let answer = api.fleet.current(api.fleet_source(), tenant).await;
    let known = answer.known.as_deref();
    let summary = api.pulse.summary();
    let troubles = api.readiness.troubles();
    let now = clock::now().to_utc();
    let broker = &api.config.broker;
    let mut view = OverviewView {
        at: now,
        daemon: DaemonView {
            client_id: broker.client_id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: summary.started_at,
        },
        ready: troubles.is_empty(),
        health: components(&api, known, &troubles, &api.readiness.warnings()),
        flow: tenant.is_none().then(|| FlowView::new(&summary, broker.receive_maximum)),
        counted_at: None,
        missing: answer.failure,
        devices: None,
        certificates: None,
        refusals: None,
        last_revocation: None,
        links: Vec::new(),
        replays_running: None,
        replicas: Vec::new(),
    };
    if let Some(known) = known {
        add_known(&mut view, known, tenant.is_some());
    }
    Ok(OkJson(view))
}

// === private helpers ===

fn add_known(view: &mut OverviewView, known: &KnownFleet, is_bound: bool) {
    let KnownFleet { numbers, .. } = known;
    let at = known.at.to_utc();
    view.counted_at = Some(at);
    view.devices = Some(numbers.devices.into());
    view.certificates = Some(CertificateNumbersView::from(numbers));
    view.refusals = Some(numbers.reasons.iter().map(|count| ReasonView::new(count, at)).collect());
    view.replays_running = Some(numbers.replays);
    let revocation = numbers.last_revocation.as_ref().zip(known.revocation.clone());
    view.last_revocation = revocation.map(|(last, steps)| LastRevocationView {
        tenant_id: last.tenant_id.clone(),
        device_id: last.device_id.clone(),
        revocation: steps.into(),
    });
    if !is_bound {
        view.links.clone_from(&known.links);
        view.replicas = numbers.replicas.iter().map(ReplicaView::from).collect();
    }
}
