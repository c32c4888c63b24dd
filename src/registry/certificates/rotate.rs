//! Rotates a certificate with overlap: the device gets a new one, and the old one stays good for a grace.
//!
//! The old one retires at its moment, or at once when the new one is confirmed, whichever is first; [`super::upkeep`] sees
//! to the moment.

use uuid::Uuid;

use super::issue::{self, Issued, Order};
use super::renew::{RenewError, find_old};
use crate::domain::time::Timestamp;
use crate::registry::{ActionContext, Signer};
use crate::store::certificates::CertificateError;
use crate::store::certificates::changes::{self, CertificateOrigin};

/// The longest grace, in hours.
pub const MAX_GRACE_HOURS: u32 = 8760;

const SECONDS_PER_HOUR: i64 = 3600;

/// Issues a certificate in the place of this one, which retires when the grace is over.
pub async fn rotate(
    desk: ActionContext<'_>,
    signer: &Signer,
    old: Uuid,
    grace_hours: u32,
    order: Order<'_>,
) -> Result<Issued, RenewError> {
    let (row, device) = find_old(desk, old).await?;
    if row.status != "ACTIVE" || Timestamp::from(row.not_after) <= desk.now {
        return Err(RenewError::Ended(old));
    }
    let retires_at = desk.now.plus_seconds(i64::from(grace_hours) * SECONDS_PER_HOUR);
    Ok(issue::issue_as(desk, signer, &device, order, CertificateOrigin::Rotated(old, retires_at)).await?)
}

/// The device uses the new certificate: those before it retire at once. Returns them.
pub async fn confirm(desk: ActionContext<'_>, new: Uuid) -> Result<Vec<Uuid>, CertificateError> {
    changes::confirm(desk.database.pool(), desk.actor, new).await
}
