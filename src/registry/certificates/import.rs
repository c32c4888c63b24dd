//! Takes a certificate into the registry that was not issued here but by the same authority, such as by a script.
//!
//! It must name a registered device, in either form of the common name. It is judged, never changed.

use super::issue::row_of;
use crate::domain::ids::DeviceKey;
use crate::pki::authority::AuthorityCertificate;
use crate::pki::certificate::{Certificate, CertificateFieldError as Unreadable};
use crate::pki::request::import as judgement;
use crate::pki::request::import::ImportCheckError as Refused;
use crate::registry::ActionContext;
use crate::store::certificates::changes::{self, CertificateOrigin};
use crate::store::certificates::{CertificateError, CertificateRow};

/// Why it was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Not a certificate.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// Not one to believe.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Another's.
    #[error("the certificate names {found}, and {expected} was expected: nothing was stored")]
    OtherDevice {
        /// Whom it names.
        found: DeviceKey,
        /// Who was meant.
        expected: DeviceKey,
    },
    /// It is here already, its device is not, or the database did not do it.
    #[error(transparent)]
    Store(#[from] CertificateError),
}

/// Takes in the first certificate of a PEM text; it must be the expected device's, where one is expected.
pub async fn import(
    desk: ActionContext<'_>,
    authority: &AuthorityCertificate,
    pem: &[u8],
    expected: Option<&DeviceKey>,
) -> Result<CertificateRow, ImportError> {
    let certificate = Certificate::from_pem(pem)?;
    let found = judgement::judge(&certificate, authority, desk.now)?;
    if let Some(expected) = expected.filter(|expected| **expected != found) {
        return Err(ImportError::OtherDevice { found, expected: expected.clone() });
    }
    let new = row_of(&found, &certificate);
    Ok(changes::insert(desk.database.pool(), desk.actor, &new, CertificateOrigin::Imported).await?)
}
