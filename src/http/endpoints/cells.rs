//! `/cells`: the cells of this registry with their authorities, or this cell's copy of its registry.
//!
//! It asks this Postgres only, never the other side, and joins nothing: `sluice cell` does.

use super::ca::apart;
use crate::clock;
use crate::http::api::extract::{Call, NoBody, NoParams};
use crate::http::api::problem::Problem;
use crate::http::api::route::OkJson;
use crate::http::api::state::Api;
use crate::http::views::cells::{
    CellAuthorityView, CellsView, RegisteredCellView, RegistryCopyView,
};
use crate::registry::cells::watch::COMPONENT;
use crate::registry::signer;
use crate::store::cells::membership::{self, CellRole, Membership};
use crate::store::cells::{cell_side, registry_side};

pub(crate) async fn show(
    api: Api,
    _: Call<NoParams, NoParams, NoBody>,
) -> Result<OkJson<CellsView>, Problem> {
    let pool = api.database.pool();
    let (role, cells, copy) = match membership::role(pool).await? {
        CellRole::Alone => ("alone", Vec::new(), None),
        CellRole::Registry => {
            let cells = registry_side::overview(pool).await?;
            ("registry", cells.into_iter().map(RegisteredCellView::from).collect(), None)
        }
        CellRole::Cell(membership) => ("cell", Vec::new(), Some(copy_of(&api, membership).await?)),
    };
    let (authorities, authorities_fault) = authorities(&api).await?;
    Ok(OkJson(CellsView { role: role.to_owned(), cells, copy, authorities, authorities_fault }))
}

// === private helpers ===

async fn copy_of(api: &Api, membership: Membership) -> Result<RegistryCopyView, Problem> {
    let pool = api.database.pool();
    let subscription = cell_side::subscription(pool, &membership.subscription).await?;
    let echo = cell_side::echo(pool, &membership.cell_id).await?;
    let metrics = api.cell_metrics.as_ref();
    Ok(RegistryCopyView {
        cell: membership.cell_id,
        registry: membership.registry,
        joined_at: membership.joined_at,
        connected: metrics.is_some_and(|metrics| metrics.connected.get() > 0),
        lag_seconds: metrics.map_or(0.0, |metrics| metrics.lag_seconds.get()),
        copying: subscription.map_or(0, |state| state.copying),
        last_sign_of_life_at: echo,
        trouble: api.readiness.warnings().get(COMPONENT).cloned(),
    })
}

async fn authorities(api: &Api) -> Result<(Vec<CellAuthorityView>, Option<String>), Problem> {
    let settings = api.config.certificates.clone();
    let place = settings.cell_authorities_dir.clone();
    let now = clock::now();
    let read = move || Ok(signer::cell_authority_ends(&settings, now));
    Ok(match apart(place.as_ref(), read).await? {
        Ok(ends) => {
            let view = |(name, end)| CellAuthorityView::of(format!("{name}"), end);
            (ends.into_iter().map(view).collect(), None)
        }
        Err(error) => (Vec::new(), Some(error.to_string())),
    })
}
