//! Takes a certificate back before its end, for a reason of RFC 5280.
//!
//! It writes the row: from the commit on no replica believes the certificate. What the broker does with it is not decided here.

use uuid::Uuid;

use crate::pki::crl::RevocationReason;
use crate::registry::ActionContext;
use crate::store::certificates::changes;
use crate::store::certificates::{self, CertificateError, CertificateRow, Handle};

/// A certificate that is revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Its row.
    pub certificate: CertificateRow,
    /// Whether it was not before; one that was keeps its first date and reason.
    pub is_new: bool,
    /// The one whose place it took, when that one still retires: soon the device holds none that is good.
    pub retiring: Option<CertificateRow>,
}

/// Revokes it; once is enough.
pub async fn revoke(desk: ActionContext<'_>, id: Uuid, reason: RevocationReason) -> Result<Revoked, CertificateError> {
    let pool = desk.database.pool();
    let (certificate, is_new) = changes::revoke(pool, desk.actor, id, reason.label()).await?;
    let retiring = match certificate.replaces {
        // It is revoked: what cannot be read now does not undo that.
        Some(old) => certificates::find(pool, &Handle::Id(old)).await.ok().map(|found| found.certificate),
        None => None,
    };
    let retiring = retiring.filter(|old| old.status == "ACTIVE" && old.retire_at.is_some());
    Ok(Revoked { certificate, is_new, retiring })
}
