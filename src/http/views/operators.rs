//! Views of operators and of sessions of the console. Neither contains a token or its hash.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::store::console::operators::OperatorRow;
use crate::store::console::sessions::ConsoleSessionRow;

/// An operator.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Operator")]
pub(crate) struct OperatorView {
    /// The name, as the audit log shows it.
    pub(crate) name: String,
    /// What the operator may do: `viewer`, `operator` or `admin`.
    pub(crate) role: String,
    /// The only tenant that the operator may read and change; null: all tenants.
    pub(crate) tenant_id: Option<String>,
    /// When the operator was added.
    pub(crate) created_at: DateTime<Utc>,
    /// When the token was made.
    pub(crate) token_made_at: DateTime<Utc>,
    /// The number of open sessions of the console.
    pub(crate) sessions: i64,
}

/// An operator with the new token.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "OperatorWithToken")]
pub(crate) struct OperatorWithTokenView {
    /// The operator.
    #[serde(flatten)]
    pub(crate) operator: OperatorView,
    /// The token; only this response contains it.
    pub(crate) token: String,
}

/// A session of the console.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ConsoleSession")]
pub(crate) struct SessionView {
    /// The identifier of the session; it is no secret.
    pub(crate) session_id: Uuid,
    /// The name of the person.
    pub(crate) name: String,
    /// What the person may do: `viewer`, `operator` or `admin`.
    pub(crate) role: String,
    /// The only tenant that the person may read and change; null: all tenants.
    pub(crate) tenant_id: Option<String>,
    /// How the person signed in: `admin-token`, `operator`, `link` or `oidc`.
    pub(crate) method: String,
    /// When the person signed in.
    pub(crate) created_at: DateTime<Utc>,
    /// When a request used the session, at most a minute late.
    pub(crate) seen_at: DateTime<Utc>,
    /// When the session expires.
    pub(crate) expires_at: DateTime<Utc>,
}

impl From<OperatorRow> for OperatorView {
    fn from(row: OperatorRow) -> Self {
        let OperatorRow { name, role, tenant_id, created_at, token_made_at, sessions } = row;
        Self { name, role, tenant_id, created_at, token_made_at, sessions }
    }
}

impl From<ConsoleSessionRow> for SessionView {
    fn from(row: ConsoleSessionRow) -> Self {
        Self {
            session_id: row.session_id,
            name: row.name,
            role: row.role,
            tenant_id: row.tenant_id,
            method: row.method,
            created_at: row.created_at,
            seen_at: row.seen_at,
            expires_at: row.expires_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::day;
    use super::*;

    #[test]
    fn an_operator_has_the_same_json_in_the_api_and_on_the_command_line() {
        let row = OperatorRow {
            name: "alice".into(),
            role: "viewer".into(),
            tenant_id: Some("acme".into()),
            created_at: day(1),
            token_made_at: day(2),
            sessions: 1,
        };
        let of_row = serde_json::to_string(&row).unwrap();
        assert_eq!(serde_json::to_string(&OperatorView::from(row)).unwrap(), of_row);
        let expected = concat!(
            r#"{"name":"alice","role":"viewer","tenant_id":"acme","created_at":"2026-11-01T00:00:00Z","#,
            r#""token_made_at":"2026-11-02T00:00:00Z","sessions":1}"#
        );
        assert_eq!(of_row, expected);
    }
}
