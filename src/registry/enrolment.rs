//! First certificates: enrolment codes are made here, and redeemed for a certificate.
//!
//! A code is shown once and stored as its hash. Every fault of a code has one answer, so that a
//! caller learns nothing from it. The same key gets the same certificate again, without another use.

use uuid::Uuid;

use super::certificates::issue::{self, IssueError, SignedCertificate};
use super::{ActionContext, SignerChoice, SignerError, open_signer};
use crate::config::sections::certificates::CertificatesConfig;
use crate::domain::enrolment::{
    CodeExpiry, EnrolmentCode, EnrolmentScope, NoRandomCode, hash_of_code,
};
use crate::domain::ids::{DeviceKey, TenantId};
use crate::domain::ports::Outage;
use crate::domain::time::Timestamp;
use crate::pki::authority::directory::PairName;
use crate::pki::request::csr::{Request, RequestError};
use crate::store::certificates::{
    self, CertificateError, CertificateRow, CertificateStatus, Handle,
};
use crate::store::registry::enrolment_codes::{
    self as codes, EnrolmentCodeError, EnrolmentCodeRow, NewEnrolmentCode,
};
use crate::store::registry::enrolment_uses::{
    self as uses, CodeStanding, PresentedCode, RedeemError, Redeemed,
};

/// Longest life of a code, in days.
pub const MAX_CODE_DAYS: i64 = 365;

/// The most uses of one code.
pub const MAX_CODE_USES: u32 = 100_000;

const SECONDS_PER_DAY: i64 = 86_400;

/// What a new code enrols.
#[derive(Clone, Debug)]
pub struct CodeOrder {
    /// The tenant.
    pub tenant: TenantId,
    /// Its devices.
    pub scope: EnrolmentScope,
    /// The site of a device that the code adds.
    pub site: Option<String>,
    /// Whether it adds a device that is not registered.
    pub adds_devices: bool,
    /// How often it may be used.
    pub max_uses: u32,
    /// When it expires.
    pub expiry: CodeExpiry,
    /// The authority of its certificates; `None` means the own one.
    pub authority: Option<PairName>,
}

/// Why no code was made.
#[derive(Debug, thiserror::Error)]
pub enum MakeCodeError {
    /// The system returned no random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomCode),
    /// Its end is in the past, or too late.
    #[error("a code expires in the future and within {MAX_CODE_DAYS} days, but {0} was requested")]
    Expiry(Timestamp),
    /// Its authority cannot sign.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The tenant does not fit, or the database failed.
    #[error(transparent)]
    Store(#[from] EnrolmentCodeError),
}

/// What a device sends to be enrolled.
#[derive(Clone, Copy, Debug)]
pub struct Application<'a> {
    /// The device it says it is.
    pub device: &'a DeviceKey,
    /// Its code.
    pub code: &'a [u8],
    /// Its certificate request, in PEM or DER.
    pub request: &'a [u8],
}

/// A first certificate.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// Its row.
    pub certificate: CertificateRow,
    /// The certificate in PEM.
    pub pem: String,
    /// Whether this request stored it; false: an earlier one with the same key did.
    pub is_new: bool,
}

/// Why a device got no certificate.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The code is worth nothing for this device. One answer for every cause.
    #[error("the user name or the enrolment code is not valid")]
    NotValid,
    /// The certificate request is unusable.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The certificate of this key was revoked or has expired.
    #[error("certificate {id} of this key is {status}: make a new key and use a new code")]
    Ended {
        /// The certificate.
        id: Uuid,
        /// Its status.
        status: CertificateStatus,
    },
    /// The device or its tenant may not be enrolled.
    #[error(transparent)]
    Refused(RedeemError),
    /// The certificate could not be signed.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The authority's files cannot be used.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The database failed.
    #[error("{0}")]
    Outage(#[from] Outage),
}

/// Makes a code. The text is returned once.
pub async fn make_code(
    context: ActionContext<'_>,
    settings: &CertificatesConfig,
    order: CodeOrder,
) -> Result<(EnrolmentCode, EnrolmentCodeRow), MakeCodeError> {
    let (expires_at, now) = (order.expiry.at(context.now), context.now);
    if expires_at <= now || expires_at > now.plus_seconds(MAX_CODE_DAYS * SECONDS_PER_DAY) {
        return Err(MakeCodeError::Expiry(expires_at));
    }
    if let Some(name) = &order.authority {
        // A wrong name fails here, and not for each device.
        open_signer(settings, SignerChoice::Named(name.clone()), now).await?;
    }
    let code = EnrolmentCode::generate()?;
    let CodeOrder { tenant, scope, site, adds_devices, max_uses, authority, .. } = order;
    let (hash, authority) = (code.hash(), authority.map(|name| name.to_string()));
    let new = NewEnrolmentCode {
        tenant,
        scope,
        site,
        adds_devices,
        max_uses,
        expires_at,
        authority,
        hash,
    };
    let row = codes::add(context.database.pool(), context.actor, &new).await?;
    Ok((code, row))
}

/// Revokes a code; certificates issued with it stay valid.
pub async fn revoke_code(
    context: ActionContext<'_>,
    tenant: &TenantId,
    id: Uuid,
) -> Result<EnrolmentCodeRow, EnrolmentCodeError> {
    codes::revoke(context.database.pool(), context.actor, tenant, id).await
}

/// Gives a device its first certificate for a code.
pub async fn enrol(
    context: ActionContext<'_>,
    settings: &CertificatesConfig,
    application: Application<'_>,
) -> Result<Enrolled, EnrolError> {
    let Application { device, code, request } = application;
    let pool = context.database.pool();
    // The request is judged after the code: only who has a code learns what is wrong with it.
    let judged = Request::read(request, device);
    let public_key = judged.as_ref().map(Request::public_key_sha256).unwrap_or_default();
    let hash = hash_of_code(code).ok_or(EnrolError::NotValid)?;
    let given = PresentedCode { device, code: &hash, public_key: &public_key };
    let (id, authority) = match uses::look_up(pool, given).await? {
        CodeStanding::Invalid => return Err(EnrolError::NotValid),
        CodeStanding::Used(certificate) => return earlier(context, certificate).await,
        CodeStanding::Valid { id, authority } => (id, authority),
    };
    let request = judged?;
    let signer = open_signer(settings, choice_of(authority)?, context.now).await?;
    let SignedCertificate { row, ends_with_authority, .. } =
        issue::sign_before_device(context, &signer, device, request).await?;
    match uses::redeem(pool, context.actor, id, &row, &public_key).await? {
        Redeemed::Earlier(certificate) => earlier(context, certificate).await,
        Redeemed::Stored(certificate) => {
            if ends_with_authority {
                issue::warn_of_short_life(&certificate);
            }
            Ok(Enrolled { certificate: *certificate, pem: row.pem, is_new: true })
        }
    }
}

// --- private helpers ---

/// The authority that the row of a code names.
fn choice_of(authority: Option<String>) -> Result<SignerChoice, EnrolError> {
    let name = authority.map(|name| {
        name.parse().map_err(|why| Outage(format!("the code names the authority {name}: {why}")))
    });
    Ok(SignerChoice::first(name.transpose()?))
}

/// The certificate that the same key got before, whose answer may have been lost.
async fn earlier(context: ActionContext<'_>, id: Uuid) -> Result<Enrolled, EnrolError> {
    let found = certificates::find(context.database.pool(), &Handle::Id(id)).await;
    let found = found.map_err(RedeemError::from)?;
    let certificate = found.certificate;
    match found.cert_pem {
        Some(pem) if certificate.status == CertificateStatus::Active => {
            Ok(Enrolled { certificate, pem, is_new: false })
        }
        _ => Err(EnrolError::Ended { id, status: certificate.status }),
    }
}

// === impl EnrolError ===

impl From<RedeemError> for EnrolError {
    fn from(error: RedeemError) -> Self {
        match error {
            RedeemError::Invalid => Self::NotValid,
            RedeemError::Outage(outage)
            | RedeemError::Certificate(CertificateError::Outage(outage)) => Self::Outage(outage),
            other => Self::Refused(other),
        }
    }
}
