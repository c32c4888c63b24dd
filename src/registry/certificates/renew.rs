//! Renews a certificate: the same device, a new key, and the old certificate is left to its own end.
//!
//! One that has expired can be renewed for a while; one that was revoked never. A name is not changed by it.

use uuid::Uuid;

use super::issue::{self, IssueError, Issued, Order};
use crate::domain::ids::{DeviceKey, IdError};
use crate::domain::time::Timestamp;
use crate::registry::{ActionContext, Signer};
use crate::store::certificates::changes::CertificateOrigin;
use crate::store::certificates::{self, CertificateError, CertificateRow, Handle};

/// How long after its end a certificate can still be renewed: who has been away for a season is known still. Later, the
/// operator issues a new one, and looks at the device first.
pub const RENEWAL_WINDOW_DAYS: i64 = 90;

const SECONDS_PER_DAY: i64 = 86_400;

/// Why a certificate was not renewed or rotated.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// Taken back.
    #[error("certificate {0} was revoked and is not renewed: issue a new one if the device is to be believed again")]
    Revoked(Uuid),
    /// Ended too long ago.
    #[error(
        "certificate {id} ended at {ended}, more than {RENEWAL_WINDOW_DAYS} days ago, and is not renewed: issue a new one"
    )]
    TooLate {
        /// Which.
        id: Uuid,
        /// When it ended.
        ended: Timestamp,
    },
    /// Nothing overlaps with one that has ended.
    #[error("certificate {0} has ended and cannot be rotated: renew it")]
    Ended(Uuid),
    /// A row written by hand.
    #[error("the row of certificate {id} names no device ({why}): correct it")]
    Name {
        /// Which.
        id: Uuid,
        /// What is wrong.
        why: IdError,
    },
    /// The new one could not be issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// There is no old one, or the database could not be asked.
    #[error(transparent)]
    Store(#[from] CertificateError),
}

/// Issues a certificate in the place of this one.
pub async fn renew(
    desk: ActionContext<'_>,
    signer: &Signer,
    old: Uuid,
    order: Order<'_>,
) -> Result<Issued, RenewError> {
    let (row, device) = find_old(desk, old).await?;
    let ended = Timestamp::from(row.not_after);
    if ended.plus_seconds(RENEWAL_WINDOW_DAYS * SECONDS_PER_DAY) < desk.now {
        return Err(RenewError::TooLate { id: old, ended });
    }
    Ok(issue::issue_as(desk, signer, &device, order, CertificateOrigin::Renewed(old)).await?)
}

/// The one whose place is to be taken, not revoked, and its device.
pub(super) async fn find_old(desk: ActionContext<'_>, old: Uuid) -> Result<(CertificateRow, DeviceKey), RenewError> {
    let row = certificates::find(desk.database.pool(), &Handle::Id(old)).await?.certificate;
    if row.status == "REVOKED" {
        return Err(RenewError::Revoked(old));
    }
    let device = DeviceKey::new(&row.tenant_id, &row.device_id).map_err(|why| RenewError::Name { id: old, why })?;
    Ok((row, device))
}
