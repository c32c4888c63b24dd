//! Renews a certificate: same device and name, new key. The old certificate stays valid until it
//! expires.
//!
//! An expired certificate can be renewed for [`RENEWAL_WINDOW_DAYS`]. A revoked one cannot be
//! renewed.

use uuid::Uuid;

use super::issue::{self, IssueError, Issued, Order};
use crate::domain::ids::{DeviceKey, IdError};
use crate::domain::time::Timestamp;
use crate::pki::authority::directory::PairName;
use crate::registry::{ActionContext, Signer, SignerChoice};
use crate::store::certificates::changes::CertificateOrigin;
use crate::store::certificates::{
    self, CertificateError, CertificateRow, CertificateStatus, Handle,
};

/// Days after expiry in which a certificate can be renewed. Later the operator checks the device
/// and issues a new certificate.
pub const RENEWAL_WINDOW_DAYS: i64 = 90;

const SECONDS_PER_DAY: i64 = 86_400;

/// Why a certificate was not renewed or rotated.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// The certificate is revoked.
    #[error(
        "certificate {0} is revoked and cannot be renewed: issue a new one if you trust the \
         device again"
    )]
    Revoked(Uuid),
    /// The certificate expired before the renewal window.
    #[error(
        "certificate {id} expired at {ended}, more than {RENEWAL_WINDOW_DAYS} days ago, and \
         cannot be renewed: issue a new one"
    )]
    TooLate {
        /// The certificate.
        id: Uuid,
        /// When it expired.
        ended: Timestamp,
    },
    /// The certificate has expired, so there is no overlap to rotate in.
    #[error("certificate {0} has expired and cannot be rotated: renew it")]
    Ended(Uuid),
    /// The row names no valid device; it was written by hand.
    #[error("the row of certificate {id} does not name a valid device ({why}): correct the row")]
    Name {
        /// The certificate.
        id: Uuid,
        /// Why the name is invalid.
        why: IdError,
    },
    /// The successor could not be issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The old certificate does not exist, or the database failed.
    #[error(transparent)]
    Store(#[from] CertificateError),
}

/// Issues the successor of the certificate `old`.
pub async fn renew(
    context: ActionContext<'_>,
    signer: &Signer,
    old: Uuid,
    order: Order<'_>,
) -> Result<Issued, RenewError> {
    let (row, device) = find_old(context, old).await?;
    let ended = Timestamp::from(row.not_after);
    if ended.plus_seconds(RENEWAL_WINDOW_DAYS * SECONDS_PER_DAY) < context.now {
        return Err(RenewError::TooLate { id: old, ended });
    }
    Ok(issue::issue_as(context, signer, &device, order, CertificateOrigin::Renewed(old)).await?)
}

/// Which authority signs the successor of `old`: the one of this name, or else the one that issued
/// `old`.
pub async fn choose_signer(
    context: ActionContext<'_>,
    old: Uuid,
    name: Option<PairName>,
) -> Result<SignerChoice, CertificateError> {
    let row = certificates::find(context.database.pool(), &Handle::Id(old)).await?.certificate;
    Ok(SignerChoice::successor(name, &row.issuer))
}

/// Returns the certificate `old`, which is not revoked, and its device.
pub(super) async fn find_old(
    context: ActionContext<'_>,
    old: Uuid,
) -> Result<(CertificateRow, DeviceKey), RenewError> {
    let row = certificates::find(context.database.pool(), &Handle::Id(old)).await?.certificate;
    if row.status == CertificateStatus::Revoked {
        return Err(RenewError::Revoked(old));
    }
    let device = DeviceKey::new(&row.tenant_id, &row.device_id)
        .map_err(|why| RenewError::Name { id: old, why })?;
    Ok((row, device))
}
