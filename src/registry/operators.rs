//! Decisions about operators and one-time links: tokens and codes are made here and returned once.
//!
//! Only their hashes are stored. Lists and single operators are read from
//! [`crate::store::console::operators`].

use super::ActionContext;
use crate::domain::caller::CallerRole;
use crate::domain::ids::TenantId;
use crate::domain::operator::{OperatorName, Person, make_operator_token};
use crate::domain::ports::Outage;
use crate::domain::token::{NoRandomBytes, SecretToken};
use crate::store::console::login_codes;
use crate::store::console::operators::{self, OperatorError, OperatorRow};

/// How long a one-time link is valid, in seconds.
pub(crate) const LINK_SECONDS: i64 = 60;

/// Why an operator was not changed, or a link not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OperatorChangeError {
    /// No token could be made.
    #[error(transparent)]
    Token(#[from] NoRandomBytes),
    /// The operator does not fit, or the database failed.
    #[error(transparent)]
    Store(#[from] OperatorError),
}

/// Adds an operator. Returns the token.
pub(crate) async fn add(
    context: ActionContext<'_>,
    name: &OperatorName,
    role: CallerRole,
    tenant: Option<&TenantId>,
) -> Result<(OperatorRow, String), OperatorChangeError> {
    let (token, hash) = make_operator_token()?;
    let pool = context.database.pool();
    Ok((operators::add(pool, context.actor, name, role, tenant, hash).await?, token))
}

/// Replaces the token of an operator; the old one and the operator's sessions end at once. Returns
/// the new one.
pub(crate) async fn replace_token(
    context: ActionContext<'_>,
    name: &OperatorName,
) -> Result<(OperatorRow, String), OperatorChangeError> {
    let (token, hash) = make_operator_token()?;
    let pool = context.database.pool();
    Ok((operators::set_token(pool, context.actor, name, hash).await?, token))
}

/// Makes the code of a one-time link.
pub(crate) async fn make_link(
    context: ActionContext<'_>,
    person: &Person,
) -> Result<String, OperatorChangeError> {
    let code = SecretToken::generate()?;
    let expires_at = context.now.plus_seconds(LINK_SECONDS);
    let added = login_codes::add(context.database.pool(), code.hash(), person, expires_at).await;
    added.map_err(|outage: Outage| OperatorError::Outage(outage))?;
    Ok(code.into_text())
}
