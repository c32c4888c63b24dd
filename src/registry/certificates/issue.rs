//! Issues a certificate to a registered device: for the key of its request, or for a key made here.
//!
//! A key made here is returned once and stored nowhere. Whatever is refused has stored nothing.

use std::sync::Arc;

use tokio::task::{JoinError, spawn_blocking};

use crate::domain::ids::DeviceKey;
use crate::pki::authority::sign::{self, SignError as SigningError};
use crate::pki::certificate::Certificate;
use crate::pki::key::PrivateKeyPem;
use crate::pki::request::csr::{Request, RequestError};
use crate::pki::request::profile::{Lifetime, ProfileError};
use crate::pki::serial::{Serial, SerialError};
use crate::registry::{ActionContext, Signer};
use crate::store::certificates::changes::{self, CertificateOrigin, NewCertificate};
use crate::store::certificates::{CertificateError, CertificateRow};

/// The longest lifetime that can be asked for, in days.
pub const MAX_DAYS: u32 = 36_500;

/// Whose key the certificate is for.
#[derive(Clone, Copy, Debug)]
pub enum KeySource<'a> {
    /// That of a certificate request, in PEM or DER.
    Request(&'a [u8]),
    /// One made here.
    Made,
}

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// Whose key.
    pub key: KeySource<'a>,
    /// For how long.
    pub lifetime: Lifetime,
}

/// A certificate that was issued.
#[derive(Debug)]
pub struct Issued {
    /// Its row.
    pub certificate: CertificateRow,
    /// The certificate in PEM.
    pub pem: String,
    /// The private key, if it was made here: this is the only copy.
    pub key: Option<PrivateKeyPem>,
    /// Whether it ends with the authority, before the usual lifetime is over.
    pub ends_with_authority: bool,
}

/// Why none was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The name does not fit, or the time.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// No number.
    #[error(transparent)]
    Serial(#[from] SerialError),
    /// The signature; its number stays reserved.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// It never ended.
    #[error("the certificate could not be signed: {0}")]
    Broken(#[from] JoinError),
    /// The device is not registered, or the database did not do it.
    #[error(transparent)]
    Store(#[from] CertificateError),
}

/// Issues a certificate: the first of a device, or one more.
pub async fn issue(
    desk: ActionContext<'_>,
    signer: &Signer,
    device: &DeviceKey,
    order: Order<'_>,
) -> Result<Issued, IssueError> {
    issue_as(desk, signer, device, order, CertificateOrigin::Issued).await
}

/// The same, perhaps in another's place.
pub(super) async fn issue_as(
    desk: ActionContext<'_>,
    signer: &Signer,
    device: &DeviceKey,
    order: Order<'_>,
    origin: CertificateOrigin,
) -> Result<Issued, IssueError> {
    let request = match order.key {
        KeySource::Request(bytes) => Some(Request::read(bytes, device)?),
        KeySource::Made => None,
    };
    let (authority, now) = (signer.authority.certificate(), desk.now);
    let leaf = signer.profile.plan(device, Serial::random()?, order.lifetime, authority, now)?;
    let ends_with_authority = leaf.is_shortened();
    let (pool, serial) = (desk.database.pool(), leaf.serial().to_string());
    changes::reserve(pool, device, authority.name(), &serial).await?;
    let authority = Arc::clone(&signer.authority);
    // On a thread that may wait: a signature by RSA takes milliseconds, in which no message would move.
    let work = spawn_blocking(move || match &request {
        Some(request) => sign::sign(&authority, &leaf, request).map(|certificate| (certificate, None)),
        None => sign::sign_new_key(&authority, &leaf).map(|(certificate, key)| (certificate, Some(key))),
    });
    let (certificate, key) = work.await??;
    let new = row_of(device, &certificate);
    let stored = changes::insert(pool, desk.actor, &new, origin).await?;
    if ends_with_authority {
        tracing::warn!(
            certificate = %stored.id,
            until = %new.not_after,
            "the certificate ends with the authority, before CERT_VALIDITY_DAYS are over; make a new authority in time"
        );
    }
    Ok(Issued { certificate: stored, pem: new.pem, key, ends_with_authority })
}

/// What is stored of a certificate.
pub(super) fn row_of(device: &DeviceKey, certificate: &Certificate) -> NewCertificate {
    NewCertificate {
        device: device.clone(),
        fingerprint: certificate.fingerprint().to_string(),
        serial: certificate.serial().to_string(),
        common_name: certificate.common_name().unwrap_or_default().to_owned(),
        issuer: certificate.issuer().to_owned(),
        not_before: certificate.not_before(),
        not_after: certificate.not_after(),
        pem: certificate.to_pem(),
    }
}
