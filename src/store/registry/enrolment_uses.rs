//! Redeems enrolment codes: a code is used in the transaction that stores the certificate and, if
//! it is new, the device.
//!
//! It never sees a code: it compares hashes. It signs nothing.

use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use uuid::Uuid;

use super::audit::{self, Actor, Entry};
use super::devices::{self, DeviceError, NewDevice};
use super::tenants::TenantStatus;
use crate::domain::device::DeviceStatus;
use crate::domain::enrolment::EnrolmentScope;
use crate::domain::ids::DeviceKey;
use crate::domain::ports::Outage;
use crate::domain::token::TokenHash;
use crate::store::certificates::changes::{self, CertificateOrigin, NewCertificate};
use crate::store::certificates::revoked_keys::{self, KeyRule};
use crate::store::certificates::{CertificateError, CertificateRow};
use crate::store::error::StoreError;

/// A key that asks for the first certificate of a device, with a code.
#[derive(Clone, Copy, Debug)]
pub struct PresentedCode<'a> {
    /// The device.
    pub device: &'a DeviceKey,
    /// The hash of the code.
    pub code: &'a TokenHash,
    /// SHA-256 of the public key, in lower-case hex.
    pub public_key: &'a str,
}

/// What a code is worth for a device and a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodeStanding {
    /// Nothing: unknown, of other devices, expired, revoked or used.
    Invalid,
    /// This key got this certificate for it.
    Used(Uuid),
    /// A certificate.
    Valid {
        /// The code.
        id: Uuid,
        /// The name of the authority that signs; `None` means the own one.
        authority: Option<String>,
    },
}

/// What a redeemed code gave.
#[derive(Clone, Debug)]
pub enum Redeemed {
    /// The certificate is stored.
    Stored(Box<CertificateRow>),
    /// Another request with the same key was first: it got this certificate.
    Earlier(Uuid),
}

/// Why a code was not redeemed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedeemError {
    /// It is worth nothing any more.
    #[error("the code is not valid")]
    Invalid,
    /// The tenant is suspended.
    #[error("tenant {0} is SUSPENDED: its devices cannot be enrolled")]
    Suspended(String),
    /// The device may not have a certificate.
    #[error("device {device} is {status} and cannot be enrolled")]
    Status {
        /// The device.
        device: DeviceKey,
        /// Its status.
        status: DeviceStatus,
    },
    /// The code adds no devices.
    #[error("device {} not found in tenant {}, and the code adds no devices", .0.device(), .0.tenant())]
    NotRegistered(DeviceKey),
    /// A code for many devices does not replace the certificate of one.
    #[error(
        "device {0} has a certificate, and the code is for first certificates of many devices: \
         renew with that certificate, or use a code for this device"
    )]
    Enrolled(DeviceKey),
    /// A certificate of the key was revoked for cause.
    #[error(
        "the key of the request is the key of certificate {0}, which is revoked: make a new key"
    )]
    RevokedKey(Uuid),
    /// The certificate was not stored.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The database failed.
    #[error("{0}")]
    Outage(#[from] Outage),
}

#[derive(sqlx::FromRow)]
struct CodeState {
    code_id: Uuid,
    device_id: Option<String>,
    device_pattern: Option<String>,
    site_id: Option<String>,
    adds_devices: bool,
    authority: Option<String>,
    is_revoked: bool,
    is_open: bool,
}

const STATE: &str = "SELECT code_id, device_id, device_pattern, site_id, adds_devices, authority, revoked_at IS NOT NULL AS is_revoked, \
    revoked_at IS NULL AND uses < max_uses AND expires_at > now() AS is_open FROM enrolment_codes WHERE tenant_id = $1";

/// Says what a code is worth, and why its device may not be enrolled: before anything is signed.
/// Changes nothing.
pub async fn look_up(pool: &PgPool, given: PresentedCode<'_>) -> Result<CodeStanding, RedeemError> {
    let query = format!("{STATE} AND code_sha256 = $2");
    let mut connection = pool.acquire().await?;
    let state: Option<CodeState> = sqlx::query_as(AssertSqlSafe(query))
        .bind(given.device.tenant())
        .bind(given.code.0.as_slice())
        .fetch_optional(&mut *connection)
        .await?;
    let Some(state) = state.filter(|state| state.is_for(given.device)) else {
        return Ok(CodeStanding::Invalid);
    };
    let standing = standing(&mut connection, &state, given.device, given.public_key).await?;
    match standing {
        CodeStanding::Invalid => {}
        CodeStanding::Used(_) => {
            require_active_tenant(&mut connection, given.device).await?;
            let status = lock_device(&mut connection, given.device).await?;
            require_active(given.device, status)?;
        }
        CodeStanding::Valid { .. } => {
            judge_device(&mut connection, &state, given.device, given.public_key).await?;
        }
    }
    Ok(standing)
}

/// Uses the code `id` for the certificate `new`, which is stored.
pub async fn redeem(
    pool: &PgPool,
    actor: &Actor,
    id: Uuid,
    new: &NewCertificate,
    public_key: &str,
) -> Result<Redeemed, RedeemError> {
    let device = &new.device;
    let mut tx = pool.begin().await?;
    // The lock puts the users of one code in order.
    let query = format!("{STATE} AND code_id = $2 FOR UPDATE");
    let state: Option<CodeState> = sqlx::query_as(AssertSqlSafe(query))
        .bind(device.tenant())
        .bind(id)
        .fetch_optional(&mut *tx)
        .await?;
    let state = state.filter(|state| state.is_for(device)).ok_or(RedeemError::Invalid)?;
    match standing(&mut tx, &state, device, public_key).await? {
        CodeStanding::Invalid => return Err(RedeemError::Invalid),
        CodeStanding::Used(certificate) => return Ok(Redeemed::Earlier(certificate)),
        CodeStanding::Valid { .. } => {}
    }
    if !judge_device(&mut tx, &state, device, public_key).await? {
        add_device(&mut tx, actor, &state, device).await?;
    }
    let stored = changes::insert_on(&mut tx, actor, new, CertificateOrigin::Issued).await?;
    record_use(&mut tx, actor, &state, &stored, public_key).await?;
    tx.commit().await?;
    Ok(Redeemed::Stored(Box::new(stored)))
}

// === impl CodeState ===

impl CodeState {
    fn is_for(&self, device: &DeviceKey) -> bool {
        self.scope().is_some_and(|scope| scope.includes(device.device()))
    }

    /// `None` for a row that was written by hand and names no valid device.
    fn scope(&self) -> Option<EnrolmentScope> {
        match (&self.device_id, &self.device_pattern) {
            (Some(device), _) => device.parse().ok().map(EnrolmentScope::Device),
            (None, Some(pattern)) => pattern.parse().ok().map(EnrolmentScope::Pattern),
            (None, None) => None,
        }
    }
}

// === private helpers ===

async fn standing(
    connection: &mut PgConnection,
    state: &CodeState,
    device: &DeviceKey,
    public_key: &str,
) -> Result<CodeStanding, RedeemError> {
    if state.is_revoked {
        return Ok(CodeStanding::Invalid);
    }
    let used: Option<Uuid> = sqlx::query_scalar(
        "SELECT certificate_id FROM enrolment_uses
         WHERE tenant_id = $1 AND code_id = $2 AND device_id = $3 AND public_key_sha256 = $4",
    )
    .bind(device.tenant())
    .bind(state.code_id)
    .bind(device.device())
    .bind(public_key)
    .fetch_optional(connection)
    .await?;
    Ok(match used {
        Some(certificate) => CodeStanding::Used(certificate),
        None if state.is_open => {
            CodeStanding::Valid { id: state.code_id, authority: state.authority.clone() }
        }
        None => CodeStanding::Invalid,
    })
}

async fn require_active_tenant(
    tx: &mut PgConnection,
    device: &DeviceKey,
) -> Result<(), RedeemError> {
    let status: TenantStatus =
        sqlx::query_scalar("SELECT status FROM tenants WHERE tenant_id = $1 FOR KEY SHARE")
            .bind(device.tenant())
            .fetch_one(tx)
            .await?;
    match status {
        TenantStatus::Active => Ok(()),
        TenantStatus::Suspended => Err(RedeemError::Suspended(device.tenant().to_owned())),
    }
}

/// Whether the device is registered; then it is locked. An error says why it may not be enrolled.
async fn judge_device(
    tx: &mut PgConnection,
    state: &CodeState,
    device: &DeviceKey,
    public_key: &str,
) -> Result<bool, RedeemError> {
    require_active_tenant(tx, device).await?;
    let status = lock_device(tx, device).await?;
    match status {
        Some(status) => require_active(device, Some(status))?,
        None if !state.adds_devices => return Err(RedeemError::NotRegistered(device.clone())),
        None => {}
    }
    if state.device_pattern.is_some() && has_certificate(tx, device).await? {
        return Err(RedeemError::Enrolled(device.clone()));
    }
    let revoked = revoked_keys::find(tx, device, public_key, KeyRule::ForCause).await?;
    revoked.map_or(Ok(status.is_some()), |id| Err(RedeemError::RevokedKey(id)))
}

async fn add_device(
    tx: &mut PgConnection,
    actor: &Actor,
    state: &CodeState,
    device: &DeviceKey,
) -> Result<(), RedeemError> {
    let new = NewDevice {
        key: device.clone(),
        site: state.site_id.clone(),
        status: DeviceStatus::Active,
        token: None,
        token_of_event: None,
        metadata: serde_json::Map::new(),
    };
    Ok(devices::add_on(tx, actor, &new).await?)
}

fn require_active(device: &DeviceKey, status: Option<DeviceStatus>) -> Result<(), RedeemError> {
    match status {
        Some(DeviceStatus::Active) => Ok(()),
        Some(status) => Err(RedeemError::Status { device: device.clone(), status }),
        None => Err(RedeemError::NotRegistered(device.clone())),
    }
}

async fn lock_device(
    tx: &mut PgConnection,
    device: &DeviceKey,
) -> Result<Option<DeviceStatus>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT status FROM devices WHERE tenant_id = $1 AND device_id = $2 FOR UPDATE",
    )
    .bind(device.tenant())
    .bind(device.device())
    .fetch_optional(tx)
    .await
}

async fn has_certificate(tx: &mut PgConnection, device: &DeviceKey) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM device_certificates WHERE tenant_id = $1 AND device_id = $2 AND status = 'ACTIVE')",
    )
    .bind(device.tenant())
    .bind(device.device())
    .fetch_one(tx)
    .await
}

async fn record_use(
    tx: &mut PgConnection,
    actor: &Actor,
    state: &CodeState,
    stored: &CertificateRow,
    public_key: &str,
) -> Result<(), sqlx::Error> {
    let (tenant, device) = (&stored.tenant_id, &stored.device_id);
    sqlx::query(
        "INSERT INTO enrolment_uses (tenant_id, code_id, device_id, public_key_sha256, certificate_id)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(tenant)
    .bind(state.code_id)
    .bind(device)
    .bind(public_key)
    .bind(stored.id)
    .execute(&mut *tx)
    .await?;
    sqlx::query("UPDATE enrolment_codes SET uses = uses + 1 WHERE tenant_id = $1 AND code_id = $2")
        .bind(tenant)
        .bind(state.code_id)
        .execute(&mut *tx)
        .await?;
    let entry = Entry {
        actor,
        action: "enrolment_code.use",
        tenant: Some(tenant),
        device: Some(device),
        detail: json!({ "id": state.code_id, "certificate": stored.id }),
    };
    audit::record(tx, entry).await
}

// === impl RedeemError ===

impl From<sqlx::Error> for RedeemError {
    fn from(error: sqlx::Error) -> Self {
        Self::Outage(StoreError::from(error).into())
    }
}

impl From<DeviceError> for RedeemError {
    fn from(error: DeviceError) -> Self {
        match error {
            DeviceError::Outage(outage) => Self::Outage(outage),
            // Another request added it in between: the retry finds it.
            other => Self::Outage(Outage(format!("{other}: try again"))),
        }
    }
}
