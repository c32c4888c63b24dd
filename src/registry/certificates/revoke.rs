//! Revokes a certificate before its end, for a reason of RFC 5280.
//!
//! It writes the row: after the commit every replica refuses the certificate. The broker is the
//! task of [`crate::registry::revocation`].

use uuid::Uuid;

use crate::pki::crl::RevocationReason;
use crate::registry::ActionContext;
use crate::store::certificates::changes;
use crate::store::certificates::{
    self, CertificateError, CertificateRow, CertificateStatus, Handle,
};

/// A revoked certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// The stored row.
    pub certificate: CertificateRow,
    /// Whether this call revoked it. A certificate revoked earlier keeps its first date and reason.
    pub is_new: bool,
    /// Its predecessor, while that one is still valid and about to retire: the device soon holds no
    /// valid certificate.
    pub retiring: Option<CertificateRow>,
}

/// Revokes the certificate `id`. A second call changes nothing.
pub async fn revoke(
    context: ActionContext<'_>,
    id: Uuid,
    reason: RevocationReason,
) -> Result<Revoked, CertificateError> {
    let pool = context.database.pool();
    let (certificate, is_new) = changes::revoke(pool, context.actor, id, reason.label()).await?;
    let retiring = match certificate.replaces {
        // The revocation is committed, so a failed read must not fail the call.
        Some(old) => {
            certificates::find(pool, &Handle::Id(old)).await.ok().map(|found| found.certificate)
        }
        None => None,
    };
    let retiring =
        retiring.filter(|old| old.status == CertificateStatus::Active && old.retire_at.is_some());
    Ok(Revoked { certificate, is_new, retiring })
}
