//! `/settings`: the settings in force, each with its source; secrets are masked.
//!
//! It changes no setting: a daemon reads them at its start.

use std::path::Path;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::load::file_checks;
use crate::config::table;
use crate::disk;
use crate::http::api::extract::{Call, NoBody, NoParams};
use crate::http::api::params::{FreeText, Param};
use crate::http::api::problem::Problem;
use crate::http::api::route::OkJson;
use crate::http::api::state::Api;
use crate::http::views::overview::ReplicaView;
use crate::http::views::settings::{SettingView, SettingsView};

/// Which settings to show.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SettingsParams {
    /// `true`: only settings that differ from their defaults.
    changed: Option<Param<bool>>,
    /// Only settings whose name, area or description has each of these words.
    search: Option<Param<FreeText>>,
}

pub(crate) async fn show(
    api: Api,
    call: Call<NoParams, SettingsParams, NoBody>,
) -> Result<OkJson<SettingsView>, Problem> {
    let fleet = api.fleet.current(api.fleet_source(), None);
    let (answer, warnings) = tokio::join!(fleet, warnings(&api));
    let rows = api.settings.iter().filter_map(|row| {
        let (_, setting) = table::find(row.name)?;
        Some(SettingView::new(row, setting))
    });
    let mut settings: Vec<SettingView> = rows.collect();
    let total = settings.len();
    let changed = settings.iter().filter(|row| row.is_changed).count();
    let only_changed = call.query.changed.is_some_and(|Param(only)| only);
    let search = call.query.search.map_or_else(String::new, |Param(FreeText(text))| text);
    let words: Vec<String> = search.split_whitespace().map(str::to_lowercase).collect();
    settings.retain(|row| (row.is_changed || !only_changed) && row.has_all(&words));
    let replicas = answer.known.iter().flat_map(|known| &known.numbers.replicas);
    Ok(OkJson(SettingsView {
        client_id: api.config.broker.client_id.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        read_at: api.pulse.summary().started_at,
        settings,
        total,
        changed,
        warnings,
        replicas: replicas.map(ReplicaView::from).collect(),
        missing: answer.failure,
    }))
}

// === private helpers ===

/// What `sluice config check` finds.
async fn warnings(api: &Api) -> Vec<String> {
    let mut warnings = api.config.warnings();
    let settings = Arc::clone(&api.settings);
    let faults =
        disk::run(Path::new("the files of the settings"), move || file_checks::faults(&settings));
    match faults.await {
        Ok(faults) => warnings.extend(faults),
        Err(error) => warnings.push(error.to_string()),
    }
    warnings
}
