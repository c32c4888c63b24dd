//! Registers a certificate that the same authority signed elsewhere, such as in a script.
//!
//! The certificate must name a registered device, in either form of the common name. It is checked,
//! never changed.

use super::issue::row_of;
use crate::domain::ids::DeviceKey;
use crate::pki::authority::AuthorityCertificate;
use crate::pki::certificate::{Certificate, CertificateFieldError as Unreadable};
use crate::pki::request::import as judgement;
use crate::pki::request::import::ImportCheckError as Refused;
use crate::registry::ActionContext;
use crate::store::certificates::changes::{self, CertificateOrigin};
use crate::store::certificates::{CertificateError, CertificateRow};

/// Why the certificate was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The text holds no certificate.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The certificate fails a check.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The certificate names another device.
    #[error("the certificate names {found}, but {expected} was expected: nothing was stored")]
    OtherDevice {
        /// The device that the certificate names.
        found: DeviceKey,
        /// The device that the caller expects.
        expected: DeviceKey,
    },
    /// The certificate is registered already, its device is not registered, or the database failed.
    #[error(transparent)]
    Store(#[from] CertificateError),
}

/// The issuer of the first certificate of `pem`; empty if there is none, which [`import`] refuses.
pub fn issuer_of(pem: &[u8]) -> String {
    Certificate::from_pem(pem).map(|read| read.issuer().to_owned()).unwrap_or_default()
}

/// Imports the first certificate of `pem`. `expected` is the device it must name; `None` accepts
/// any.
pub async fn import(
    context: ActionContext<'_>,
    authority: &AuthorityCertificate,
    pem: &[u8],
    expected: Option<&DeviceKey>,
) -> Result<CertificateRow, ImportError> {
    let certificate = Certificate::from_pem(pem)?;
    let found = judgement::judge(&certificate, authority, context.now)?;
    if let Some(expected) = expected.filter(|expected| **expected != found) {
        return Err(ImportError::OtherDevice { found, expected: expected.clone() });
    }
    let new = row_of(&found, &certificate);
    Ok(changes::insert(context.database.pool(), context.actor, &new, CertificateOrigin::Imported)
        .await?)
}
