//! Rotates a certificate with overlap: the device gets a successor, and the old certificate stays
//! valid for a grace period.
//!
//! The old certificate retires when the grace period ends or when the successor is confirmed,
//! whichever is first. [`super::upkeep`] retires it at the end of the grace period.

use uuid::Uuid;

use super::issue::{self, Issued, Order};
use super::renew::{RenewError, find_old};
use crate::domain::time::Timestamp;
use crate::registry::{ActionContext, Signer};
use crate::store::certificates::changes::{self, CertificateOrigin};
use crate::store::certificates::{CertificateError, CertificateStatus};

/// Longest grace period, in hours.
pub const MAX_GRACE_HOURS: u32 = 8760;

const SECONDS_PER_HOUR: i64 = 3600;

/// Issues the successor of `old`, which retires after `grace_hours`.
pub async fn rotate(
    context: ActionContext<'_>,
    signer: &Signer,
    old: Uuid,
    grace_hours: u32,
    order: Order<'_>,
) -> Result<Issued, RenewError> {
    let (row, device) = find_old(context, old).await?;
    if row.status != CertificateStatus::Active || Timestamp::from(row.not_after) <= context.now {
        return Err(RenewError::Ended(old));
    }
    let retires_at = context.now.plus_seconds(i64::from(grace_hours) * SECONDS_PER_HOUR);
    Ok(issue::issue_as(
        context,
        signer,
        &device,
        order,
        CertificateOrigin::Rotated(old, retires_at),
    )
    .await?)
}

/// Confirms that the device uses `new`: its predecessors retire at once. Returns their identifiers.
pub async fn confirm(context: ActionContext<'_>, new: Uuid) -> Result<Vec<Uuid>, CertificateError> {
    changes::confirm(context.database.pool(), context.actor, new).await
}
