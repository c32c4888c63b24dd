//! Takes a certificate back before its end, for a reason of RFC 5280.
//!
//! It writes the row: from the commit on no replica believes the certificate. What the broker does with it is not decided here.

use uuid::Uuid;

use super::Desk;
use crate::pki::crl::RevocationReason;
use crate::store::certificate_changes;
use crate::store::certificates::{CertificateError, CertificateRow};

/// A certificate that is revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Its row.
    pub certificate: CertificateRow,
    /// Whether it was not before; one that was keeps its first date and reason.
    pub is_new: bool,
}

/// Revokes it; once is enough.
pub async fn revoke(desk: Desk<'_>, id: Uuid, reason: RevocationReason) -> Result<Revoked, CertificateError> {
    let (certificate, is_new) =
        certificate_changes::revoke(desk.database.pool(), desk.actor, id, reason.label()).await?;
    Ok(Revoked { certificate, is_new })
}
