//! `/me`: who sends the request, and what that sender may do.
//!
//! It reads no row.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::http::api::extract::{Call, NoBody, NoParams};
use crate::http::api::problem::Problem;
use crate::http::api::route::OkJson;
use crate::http::api::state::Api;

/// The sender of a request.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct MeView {
    /// The name, as the audit log shows it.
    pub(crate) actor: String,
    /// What the sender may do: viewer, operator or admin.
    pub(crate) role: String,
    /// The only tenant that the sender may read and change. Null: all tenants.
    pub(crate) tenant: Option<String>,
}

pub(crate) async fn show(
    api: Api,
    _: Call<NoParams, NoParams, NoBody>,
) -> Result<OkJson<MeView>, Problem> {
    Ok(OkJson(MeView {
        actor: api.actor.as_str().to_owned(),
        role: api.acting.role.to_string(),
        tenant: api.acting.tenant.map(|tenant| tenant.to_string()),
    }))
}
