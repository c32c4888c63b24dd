//! `/operators` and `/sessions`: who may use the console and the API by name, and who is signed in.
//!
//! A token is shown in the response that makes it, and nowhere else.

use schemars::{JsonSchema, Schema, json_schema};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::caller::CallerRole;
use crate::domain::ids::TenantId;
use crate::domain::operator::{NoOperatorName, OperatorName};
use crate::http::api::extract::{Call, Json, NoBody, NoParams};
use crate::http::api::page::Page;
use crate::http::api::params::{Limit, Param, TextParam};
use crate::http::api::problem::{Problem, ProblemKind};
use crate::http::api::route::{CreatedJson, OkJson};
use crate::http::api::state::Api;
use crate::http::views::operators::{OperatorView, OperatorWithTokenView, SessionView};
use crate::registry::operators::{self as registry, OperatorChangeError};
use crate::store::console::operators::{self, OperatorError};
use crate::store::console::sessions;

/// The path of an operator.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct OperatorPath {
    /// The name of the operator.
    operator: Param<OperatorName>,
}

/// The path of a session.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct SessionPath {
    /// The identifier of the session.
    session: Param<Uuid>,
}

/// The page of operators.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OperatorPageParams {
    /// The number of rows of a page.
    #[serde(default)]
    limit: Param<Limit>,
    /// The `next` of the previous page.
    cursor: Option<Param<OperatorName>>,
}

/// The page of sessions.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionPageParams {
    /// The number of rows of a page.
    #[serde(default)]
    limit: Param<Limit>,
    /// The `next` of the previous page.
    cursor: Option<Param<Uuid>>,
}

/// A new operator.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewOperator {
    /// The name, as the audit log shows it.
    name: Param<OperatorName>,
    /// What the operator may do.
    role: Param<CallerRole>,
    /// The only tenant that the operator may read and change; the default is all tenants.
    tenant: Option<Param<TenantId>>,
}

/// The new role of an operator.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OperatorChange {
    /// What the operator may do.
    role: Param<CallerRole>,
    /// The only tenant that the operator may read and change; the default is all tenants.
    tenant: Option<Param<TenantId>>,
}

/// The removed operator.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RemovedOperator {
    /// The name of the removed operator.
    pub(crate) name: String,
}

/// The ended session.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct EndedSession {
    /// The identifier of the ended session.
    pub(crate) session_id: Uuid,
}

pub(crate) async fn list(
    api: Api,
    call: Call<NoParams, OperatorPageParams, NoBody>,
) -> Result<OkJson<Page<OperatorView>>, Problem> {
    let OperatorPageParams { limit: Param(Limit(limit)), cursor } = call.query;
    let after = cursor.map(|Param(name)| name);
    let fetched = Page::<OperatorView>::fetch(limit);
    let rows = operators::list(api.database.pool(), after.as_ref(), fetched).await?;
    Ok(OkJson(Page::new(rows, limit, |last| last.name.clone())))
}

pub(crate) async fn show(
    api: Api,
    call: Call<OperatorPath, NoParams, NoBody>,
) -> Result<OkJson<OperatorView>, Problem> {
    Ok(OkJson(operators::show(api.database.pool(), &call.path.operator.0).await?.into()))
}

pub(crate) async fn add(
    api: Api,
    call: Call<NoParams, NoParams, Json<NewOperator>>,
) -> Result<CreatedJson<OperatorWithTokenView>, Problem> {
    let Json(NewOperator { name: Param(name), role: Param(role), tenant }) = call.body;
    let tenant = tenant.map(|Param(tenant)| tenant);
    let (row, token) = registry::add(api.action_context(), &name, role, tenant.as_ref()).await?;
    Ok(CreatedJson(OperatorWithTokenView { operator: row.into(), token }))
}

pub(crate) async fn change(
    api: Api,
    call: Call<OperatorPath, NoParams, Json<OperatorChange>>,
) -> Result<OkJson<OperatorView>, Problem> {
    let Param(name) = call.path.operator;
    let Json(OperatorChange { role: Param(role), tenant }) = call.body;
    let tenant = tenant.map(|Param(tenant)| tenant);
    let pool = api.database.pool();
    Ok(OkJson(operators::set_role(pool, &api.actor, &name, role, tenant.as_ref()).await?.into()))
}

pub(crate) async fn make_token(
    api: Api,
    call: Call<OperatorPath, NoParams, NoBody>,
) -> Result<OkJson<OperatorWithTokenView>, Problem> {
    let (row, token) = registry::replace_token(api.action_context(), &call.path.operator.0).await?;
    Ok(OkJson(OperatorWithTokenView { operator: row.into(), token }))
}

pub(crate) async fn remove(
    api: Api,
    call: Call<OperatorPath, NoParams, NoBody>,
) -> Result<OkJson<RemovedOperator>, Problem> {
    let Param(name) = call.path.operator;
    operators::remove(api.database.pool(), &api.actor, &name).await?;
    Ok(OkJson(RemovedOperator { name: name.to_string() }))
}

pub(crate) async fn list_sessions(
    api: Api,
    call: Call<NoParams, SessionPageParams, NoBody>,
) -> Result<OkJson<Page<SessionView>>, Problem> {
    let SessionPageParams { limit: Param(Limit(limit)), cursor } = call.query;
    let before = cursor.map(|Param(id)| id);
    let fetched = Page::<SessionView>::fetch(limit);
    let rows = sessions::list(api.database.pool(), before, fetched).await?;
    Ok(OkJson(Page::new(rows, limit, |last| last.session_id.to_string())))
}

pub(crate) async fn end_session(
    api: Api,
    call: Call<SessionPath, NoParams, NoBody>,
) -> Result<OkJson<EndedSession>, Problem> {
    let Param(session_id) = call.path.session;
    if sessions::close_by_id(api.database.pool(), &api.actor, session_id).await? {
        return Ok(OkJson(EndedSession { session_id }));
    }
    Err(Problem::not_found(format!(
        "session {session_id} not found; it may have ended: GET /api/v1/sessions lists the open ones"
    )))
}

impl TextParam for OperatorName {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: NoOperatorName| error.to_string())
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$" })
    }
}

impl TextParam for CallerRole {
    fn read(text: &str) -> Result<Self, String> {
        let role = Self::from_label(text);
        role.ok_or_else(|| "expected one of viewer, operator, admin".to_owned())
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "enum": ["viewer", "operator", "admin"] })
    }
}

impl From<OperatorError> for Problem {
    fn from(error: OperatorError) -> Self {
        let what = error.to_string();
        match error {
            OperatorError::Outage(outage) => outage.into(),
            OperatorError::Unknown(_) => {
                Self::not_found(format!("{what}; GET /api/v1/operators lists the operators"))
            }
            OperatorError::NoTenant(_) => Self::refused("tenant", what),
            OperatorError::Exists(_) | OperatorError::TooMany => {
                Self::new(ProblemKind::Conflict, what)
            }
        }
    }
}

impl From<OperatorChangeError> for Problem {
    fn from(error: OperatorChangeError) -> Self {
        match error {
            OperatorChangeError::Store(error) => error.into(),
            OperatorChangeError::Token(error) => {
                Self::new(ProblemKind::Internal, error.to_string())
            }
        }
    }
}
