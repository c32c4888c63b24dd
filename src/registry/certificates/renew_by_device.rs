//! Renews the certificate of a device at its own request, over MQTT or EST.
//!
//! The order: read the request, find the certificate in use, verify that its holder requests, judge
//! both, return what an equal request got before, check the limits, sign, store. A repeated request
//! has the same public key and gets the same certificate, whichever replica answers. The certificate
//! in use retires after a grace period, or when the device confirms the new one.
//!
//! It trusts no certificate that the requester sends, and renews none that is revoked. Who the
//! device is, the caller knows: from the topic, a token, or the handshake.

use uuid::Uuid;

use super::issue::{self, IssueError};
use super::renew::RENEWAL_WINDOW_DAYS;
use crate::config::sections::certificates::CertificatesConfig;
use crate::domain::device::DeviceStatus;
use crate::domain::ids::DeviceKey;
use crate::domain::time::Timestamp;
use crate::pki::certificate::Certificate;
use crate::pki::request::csr::{self, Request};
use crate::pki::request::profile::Lifetime;
use crate::pki::request::proof::{self, ProofError};
use crate::registry::{ActionContext, SignerChoice, SignerError, open_signer};
use crate::store::certificates::changes;
use crate::store::certificates::device_renewal::{self, RenewalAccount, RenewalTransaction};
use crate::store::certificates::{
    self, CertificateDetail, CertificateError, CertificateRow, CertificateStatus, Handle,
};

/// Valid certificates of a device beyond which it gets no further one.
pub const MAX_ACTIVE: i64 = 3;

/// Renewals of a device in 24 hours. A device that confirms each would otherwise fill the CRL.
pub const MAX_RENEWALS_PER_DAY: i64 = 6;

const SECONDS_PER_DAY: i64 = 86_400;
const SECONDS_PER_HOUR: i64 = 3600;

/// The request of a device for the successor of its certificate.
#[derive(Clone, Copy, Debug)]
pub struct DeviceRenewal<'a> {
    /// The device.
    pub device: &'a DeviceKey,
    /// The certificate request, in PEM or DER.
    pub csr: &'a [u8],
    /// The certificate in use; `None` means the one that ends last.
    pub certificate: Option<&'a Handle>,
    /// How its holder is known.
    pub holder: HolderProof<'a>,
}

/// How it is known that the holder of the certificate in use requests.
#[derive(Clone, Copy, Debug)]
pub enum HolderProof<'a> {
    /// A signature over [`proof::statement`] with the key of the certificate.
    Signature(&'a [u8]),
    /// The caller has verified it: a TLS handshake with that certificate, the token of the device,
    /// or `CERT_RENEW_PROOF=0`.
    Verified,
}

/// The answer to a renewal.
#[derive(Debug)]
pub struct RenewedCertificate {
    /// The row of the certificate.
    pub certificate: CertificateRow,
    /// The certificate in PEM.
    pub pem: String,
    /// When the certificate that it replaces retires, if that one is ACTIVE.
    pub old_retires_at: Option<Timestamp>,
    /// Whether this request made it. An equal request before may have made it.
    pub is_new: bool,
}

/// Why a device's certificate was not renewed.
#[derive(Debug, thiserror::Error)]
pub enum DeviceRenewalError {
    /// The device may not renew.
    #[error("{0}")]
    Device(&'static str),
    /// The device has no certificate to renew.
    #[error(
        "device {0} has no certificate that could be renewed: an operator issues the first one, or \
         the device enrols"
    )]
    NoCertificate(DeviceKey),
    /// The certificate does not exist, or belongs to another device.
    #[error("certificate {0} is not one of device {1}: name the certificate in use by its SHA-256")]
    NotYours(Handle, DeviceKey),
    /// The signature proves nothing.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The registry has no text of the certificate in use, so no proof can be verified.
    #[error(
        "the registry cannot verify the proof: it does not contain the PEM text of certificate {0}; \
         an operator imports the certificate again"
    )]
    Unverifiable(Uuid),
    /// The certificate in use is revoked.
    #[error("certificate {0} is revoked and cannot be renewed")]
    Revoked(Uuid),
    /// The certificate in use expired before the renewal window.
    #[error(
        "certificate {id} expired at {ended}, more than {RENEWAL_WINDOW_DAYS} days ago, and cannot \
         be renewed: an operator issues a new one"
    )]
    TooLate {
        /// The certificate.
        id: Uuid,
        /// When it expired.
        ended: Timestamp,
    },
    /// The certificate in use is expired, and the device has used its successor.
    #[error(
        "certificate {0} is expired and was replaced: renew the certificate that replaced it, or an \
         operator issues a new one"
    )]
    Replaced(Uuid),
    /// A certificate of the requested key was revoked, and the key may not be used again.
    #[error(
        "the key of the request is the key of certificate {0}, which is revoked: make a new key"
    )]
    RevokedKey(Uuid),
    /// The device has too many valid certificates.
    #[error(
        "device {device} has {active} valid certificates, and at most {MAX_ACTIVE} are possible: \
         confirm the one in use with certificate/confirm, or wait until one retires"
    )]
    TooManyActive {
        /// The device.
        device: DeviceKey,
        /// How many it has.
        active: i64,
    },
    /// The device renewed too often.
    #[error(
        "device {device} renewed its certificate {MAX_RENEWALS_PER_DAY} times in 24 hours: the next \
         renewal is possible in {retry_after} s"
    )]
    TooOften {
        /// The device.
        device: DeviceKey,
        /// Seconds until the next renewal is possible.
        retry_after: u64,
    },
    /// The authority's files cannot be used.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The request is not accepted, or signing failed.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The certificate in use changed meanwhile, or the database failed.
    #[error(transparent)]
    Store(#[from] CertificateError),
}

/// Renews a certificate, or returns the one that an equal request got.
pub async fn renew(
    context: ActionContext<'_>,
    settings: &CertificatesConfig,
    wish: DeviceRenewal<'_>,
) -> Result<RenewedCertificate, DeviceRenewalError> {
    let (device, now) = (wish.device, context.now);
    let der = csr::der_of(wish.csr).map_err(IssueError::from)?;
    let old = find_in_use(context, &wish).await?;
    verify_holder(&wish, &old, &der)?;
    check_window(&old.certificate, now)?;
    let request = Request::read(&der, device).map_err(IssueError::from)?;
    let (key, old_id) = (request.public_key_sha256(), old.certificate.id);
    // Before anything is signed: a refused request reserves no serial number.
    let (tx, earlier) = lock_and_judge(context, device, &key, old_id).await?;
    drop(tx);
    if let Some(earlier) = earlier {
        return earlier_answer(context, earlier).await;
    }
    let choice = SignerChoice::Issuer(old.certificate.issuer.clone());
    let signer = open_signer(settings, choice, now).await?;
    let fresh = issue::sign(context, &signer, device, Some(request), Lifetime::Usual).await?;
    // Judged again within the lock: another replica may have answered an equal request meanwhile.
    // Then the new certificate is discarded; its serial number stays reserved.
    let (tx, earlier) = lock_and_judge(context, device, &key, old_id).await?;
    if let Some(earlier) = earlier {
        drop(tx);
        return earlier_answer(context, earlier).await;
    }
    let grace = i64::from(settings.rotation_grace_hours) * SECONDS_PER_HOUR;
    let retires_at = now.plus_seconds(grace);
    let certificate = tx.store(context.actor, &fresh.row, old_id, retires_at).await?;
    if fresh.ends_with_authority {
        issue::warn_of_short_life(&certificate);
    }
    note(&old.certificate, &certificate, key == old.public_key());
    let old_retires_at =
        (old.certificate.status == CertificateStatus::Active).then_some(retires_at);
    Ok(RenewedCertificate { certificate, pem: fresh.row.pem, old_retires_at, is_new: true })
}

/// Confirms that `device` uses its certificate `new`: the earlier ones retire at once. Returns the
/// certificate and those that retired; a certificate that replaces none retires none.
pub async fn confirm(
    context: ActionContext<'_>,
    device: &DeviceKey,
    new: &Handle,
) -> Result<(Uuid, Vec<Uuid>), DeviceRenewalError> {
    let found = find_own(context, device, new).await?.certificate;
    if found.status == CertificateStatus::Active && found.replaces.is_none() {
        return Ok((found.id, Vec::new()));
    }
    let retired = changes::confirm(context.database.pool(), context.actor, found.id).await?;
    Ok((found.id, retired))
}

// === private helpers ===

impl CertificateDetail {
    /// The hash of its public key, if its PEM can be read.
    fn public_key(&self) -> String {
        self.readable().map(|certificate| certificate.public_key_sha256()).unwrap_or_default()
    }

    /// The certificate, if its PEM is the one that the row describes.
    fn readable(&self) -> Option<Certificate> {
        let certificate = Certificate::from_pem(self.cert_pem.as_deref()?.as_bytes()).ok()?;
        let is_same = certificate.fingerprint().to_string() == self.certificate.fingerprint_sha256;
        is_same.then_some(certificate)
    }
}

/// The certificate in use.
async fn find_in_use(
    context: ActionContext<'_>,
    wish: &DeviceRenewal<'_>,
) -> Result<CertificateDetail, DeviceRenewalError> {
    if let Some(handle) = wish.certificate {
        return find_own(context, wish.device, handle).await;
    }
    let latest = device_renewal::latest(context.database.pool(), wish.device).await?;
    latest.ok_or_else(|| DeviceRenewalError::NoCertificate(wish.device.clone()))
}

/// The certificate `handle`, if it is one of `device`. Another device's is not distinguished from one
/// that does not exist.
async fn find_own(
    context: ActionContext<'_>,
    device: &DeviceKey,
    handle: &Handle,
) -> Result<CertificateDetail, DeviceRenewalError> {
    match certificates::find(context.database.pool(), handle).await {
        Ok(found)
            if found.certificate.tenant_id == device.tenant()
                && found.certificate.device_id == device.device() =>
        {
            Ok(found)
        }
        Ok(_) | Err(CertificateError::Unknown(_)) => {
            Err(DeviceRenewalError::NotYours(handle.clone(), device.clone()))
        }
        Err(error) => Err(error.into()),
    }
}

fn verify_holder(
    wish: &DeviceRenewal<'_>,
    old: &CertificateDetail,
    request_der: &[u8],
) -> Result<(), DeviceRenewalError> {
    let HolderProof::Signature(signature) = wish.holder else { return Ok(()) };
    let certificate = old.readable().ok_or(DeviceRenewalError::Unverifiable(old.certificate.id))?;
    let statement = proof::statement(wish.device, request_der);
    Ok(proof::verify(&certificate, &statement, signature)?)
}

fn check_window(old: &CertificateRow, now: Timestamp) -> Result<(), DeviceRenewalError> {
    if old.status == CertificateStatus::Revoked {
        return Err(DeviceRenewalError::Revoked(old.id));
    }
    let ended = Timestamp::from(old.not_after);
    if ended.plus_seconds(RENEWAL_WINDOW_DAYS * SECONDS_PER_DAY) < now {
        return Err(DeviceRenewalError::TooLate { id: old.id, ended });
    }
    Ok(())
}

/// Locks the device until the transaction ends, and judges it and its certificates.
async fn lock_and_judge(
    context: ActionContext<'_>,
    device: &DeviceKey,
    public_key: &str,
    old: Uuid,
) -> Result<(RenewalTransaction, Option<CertificateDetail>), DeviceRenewalError> {
    let mut tx = device_renewal::lock(context.database.pool(), device).await?;
    check_device(tx.status, tx.tenant_suspended)?;
    let account = tx.account(public_key, old).await?;
    let earlier = judge(&account, device, old, context.now)?;
    Ok((tx, earlier))
}

fn check_device(status: DeviceStatus, tenant_suspended: bool) -> Result<(), DeviceRenewalError> {
    if tenant_suspended {
        return Err(DeviceRenewalError::Device("the tenant is suspended"));
    }
    match status {
        DeviceStatus::Active => Ok(()),
        DeviceStatus::Inactive => Err(DeviceRenewalError::Device("the device is deactivated")),
        DeviceStatus::Revoked => Err(DeviceRenewalError::Device("the device is revoked")),
    }
}

/// The certificate that an equal request got, or whether a further one is possible.
fn judge(
    account: &RenewalAccount,
    device: &DeviceKey,
    old: Uuid,
    now: Timestamp,
) -> Result<Option<CertificateDetail>, DeviceRenewalError> {
    if let Some(revoked) = account.revoked_key {
        return Err(DeviceRenewalError::RevokedKey(revoked));
    }
    if let Some(same) = account.same_key.as_ref().filter(|same| is_fresh(&same.certificate, now)) {
        return Ok(Some(same.clone()));
    }
    if account.is_replaced {
        return Err(DeviceRenewalError::Replaced(old));
    }
    if account.active >= MAX_ACTIVE {
        let (device, active) = (device.clone(), account.active);
        return Err(DeviceRenewalError::TooManyActive { device, active });
    }
    if account.renewed_lately >= MAX_RENEWALS_PER_DAY {
        let first = account.first_renewed_at.map_or(now, Timestamp::from);
        let left = first.plus_seconds(SECONDS_PER_DAY).micros() - now.micros();
        // At least a minute: the clock of Postgres decides when the first one no longer counts.
        let retry_after = u64::try_from(left / 1_000_000).unwrap_or(0).max(60);
        return Err(DeviceRenewalError::TooOften { device: device.clone(), retry_after });
    }
    Ok(None)
}

/// Whether more than two thirds of its life are left.
fn is_fresh(row: &CertificateRow, now: Timestamp) -> bool {
    let (start, end) = (Timestamp::from(row.not_before), Timestamp::from(row.not_after));
    end.seconds_since(now) * 3.0 > end.seconds_since(start) * 2.0
}

/// The answer that an equal request got.
async fn earlier_answer(
    context: ActionContext<'_>,
    earlier: CertificateDetail,
) -> Result<RenewedCertificate, DeviceRenewalError> {
    let CertificateDetail { certificate, cert_pem } = earlier;
    let old_retires_at = match certificate.replaces {
        Some(old) => {
            let found = certificates::find(context.database.pool(), &Handle::Id(old)).await;
            found.ok().and_then(|old| old.certificate.retire_at).map(Timestamp::from)
        }
        None => None,
    };
    let pem = cert_pem.unwrap_or_default();
    Ok(RenewedCertificate { certificate, pem, old_retires_at, is_new: false })
}

fn note(old: &CertificateRow, new: &CertificateRow, has_same_key: bool) {
    let device = format!("{}/{}", new.tenant_id, new.device_id);
    if has_same_key {
        tracing::info!(
            device, old = %old.id, new = %new.id,
            "a device renewed its certificate and kept its key"
        );
    } else {
        tracing::debug!(device, old = %old.id, new = %new.id, "a device renewed its certificate");
    }
}
