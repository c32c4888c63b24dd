//! Issues a certificate to a registered device: for the key of its request, or for a key made here.
//!
//! A key made here is returned once and stored nowhere. A refusal stores nothing.

use tokio::task::{JoinError, spawn_blocking};

use crate::domain::ids::DeviceKey;
use crate::domain::time::Timestamp;
use crate::pki::authority::sign::{self as signing, SignError as SigningError};
use crate::pki::certificate::Certificate;
use crate::pki::key::PrivateKeyPem;
use crate::pki::request::csr::{Request, RequestError};
use crate::pki::request::profile::{Leaf, Lifetime, ProfileError};
use crate::pki::serial::{Serial, SerialError};
use crate::registry::{ActionContext, Signer};
use crate::store::certificates::changes::{self, CertificateOrigin, NewCertificate};
use crate::store::certificates::{CertificateError, CertificateRow};

/// Longest lifetime of a request, in days.
pub const MAX_DAYS: u32 = 36_500;

/// Where the key of the certificate comes from.
#[derive(Clone, Copy, Debug)]
pub enum KeySource<'a> {
    /// A certificate request, in PEM or DER.
    Request(&'a [u8]),
    /// A new key, made here.
    Made,
}

/// What the caller requests.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// Where the key comes from.
    pub key: KeySource<'a>,
    /// The lifetime.
    pub lifetime: Lifetime,
}

/// A new certificate.
#[derive(Debug)]
pub struct Issued {
    /// The stored row.
    pub certificate: CertificateRow,
    /// The certificate in PEM.
    pub pem: String,
    /// The private key if it was made here; this is the only copy.
    pub key: Option<PrivateKeyPem>,
    /// Whether the certificate ends with the authority, earlier than its usual lifetime.
    pub ends_with_authority: bool,
}

/// A signed certificate that is not stored yet: nothing accepts it before.
#[derive(Debug)]
pub(in crate::registry) struct SignedCertificate {
    /// The row to store.
    pub row: NewCertificate,
    /// The private key if it was made here.
    pub key: Option<PrivateKeyPem>,
    /// Whether it ends with the authority, earlier than its usual lifetime.
    pub ends_with_authority: bool,
}

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The request is unusable.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The name or the lifetime does not fit the profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// No serial number could be made.
    #[error(transparent)]
    Serial(#[from] SerialError),
    /// Signing failed; the serial number stays reserved.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// The signing task panicked.
    #[error("the certificate could not be signed: {0}")]
    Broken(#[from] JoinError),
    /// The device is not registered, or the database failed.
    #[error(transparent)]
    Store(#[from] CertificateError),
}

/// Issues a certificate to `device`, whether or not it holds others.
pub async fn issue(
    context: ActionContext<'_>,
    signer: &Signer,
    device: &DeviceKey,
    order: Order<'_>,
) -> Result<Issued, IssueError> {
    issue_as(context, signer, device, order, CertificateOrigin::Issued).await
}

/// Issues a certificate with its `origin`, which may name a predecessor.
pub(super) async fn issue_as(
    context: ActionContext<'_>,
    signer: &Signer,
    device: &DeviceKey,
    order: Order<'_>,
    origin: CertificateOrigin,
) -> Result<Issued, IssueError> {
    let request = match order.key {
        KeySource::Request(bytes) => Some(Request::read(bytes, device)?),
        KeySource::Made => None,
    };
    let fresh = sign(context, signer, device, request, order.lifetime).await?;
    let stored =
        changes::insert(context.database.pool(), context.actor, &fresh.row, origin).await?;
    if fresh.ends_with_authority {
        warn_of_short_life(&stored);
    }
    Ok(Issued {
        certificate: stored,
        pem: fresh.row.pem,
        key: fresh.key,
        ends_with_authority: fresh.ends_with_authority,
    })
}

/// Reserves a serial number and signs, for the key of `request` or for a key made here. The caller
/// stores the row.
pub(super) async fn sign(
    context: ActionContext<'_>,
    signer: &Signer,
    device: &DeviceKey,
    request: Option<Request>,
    lifetime: Lifetime,
) -> Result<SignedCertificate, IssueError> {
    let leaf = plan(context, signer, device, lifetime)?;
    let (issuer, serial) = (signer.authority().certificate().name(), leaf.serial().to_string());
    changes::reserve(context.database.pool(), device, issuer, &serial).await?;
    sign_leaf(signer, device, leaf, request).await
}

/// Like [`sign`], for a device that is registered together with its certificate.
pub(in crate::registry) async fn sign_before_device(
    context: ActionContext<'_>,
    signer: &Signer,
    device: &DeviceKey,
    request: Request,
) -> Result<SignedCertificate, IssueError> {
    let leaf = plan(context, signer, device, Lifetime::Usual)?;
    let (issuer, serial) = (signer.authority().certificate().name(), leaf.serial().to_string());
    changes::reserve_before_device(context.database.pool(), device, issuer, &serial).await?;
    sign_leaf(signer, device, leaf, Some(request)).await
}

fn plan(
    context: ActionContext<'_>,
    signer: &Signer,
    device: &DeviceKey,
    lifetime: Lifetime,
) -> Result<Leaf, IssueError> {
    let authority = signer.authority().certificate();
    Ok(signer.profile().plan(device, Serial::random()?, lifetime, authority, context.now)?)
}

async fn sign_leaf(
    signer: &Signer,
    device: &DeviceKey,
    leaf: Leaf,
    request: Option<Request>,
) -> Result<SignedCertificate, IssueError> {
    let ends_with_authority = leaf.is_shortened();
    let authority = signer.shared();
    // Blocking thread: an RSA signature takes milliseconds and would stall the message path.
    let work = spawn_blocking(move || match &request {
        Some(request) => {
            signing::sign(&authority, &leaf, request).map(|certificate| (certificate, None))
        }
        None => signing::sign_new_key(&authority, &leaf)
            .map(|(certificate, key)| (certificate, Some(key))),
    });
    let (certificate, key) = work.await??;
    Ok(SignedCertificate { row: row_of(device, &certificate), key, ends_with_authority })
}

/// Logs that a stored certificate has less than its usual lifetime.
pub(in crate::registry) fn warn_of_short_life(stored: &CertificateRow) {
    tracing::warn!(
        certificate = %stored.id,
        until = %Timestamp::from(stored.not_after),
        "the certificate ends with the authority, before CERT_VALIDITY_DAYS; make a new \
         authority in time"
    );
}

/// The row that stores `certificate` for `device`.
pub(super) fn row_of(device: &DeviceKey, certificate: &Certificate) -> NewCertificate {
    NewCertificate {
        device: device.clone(),
        fingerprint: certificate.fingerprint().to_string(),
        public_key_sha256: certificate.public_key_sha256(),
        serial: certificate.serial().to_string(),
        common_name: certificate.common_name().unwrap_or_default().to_owned(),
        issuer: certificate.issuer().to_owned(),
        not_before: certificate.not_before(),
        not_after: certificate.not_after(),
        pem: certificate.to_pem(),
    }
}
