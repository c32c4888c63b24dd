//! Shadows: what a device should be and what it says it is; show them, and change what is desired.
//!
//! A change takes effect on the version it was made for, and on no other. Whether a device is in
//! sync follows from the documents, never from versions: a device may report any version.

use serde_json::value::RawValue;

use super::DownlinkContext;
use super::document::{DocumentError, JsonDocument};
use crate::domain::ids::DeviceKey;
use crate::domain::ports::Outage;
use crate::store::downlink::shadows::{
    self as rows, DesiredChange, ShadowFilter, ShadowRow, ShadowRows,
};
use crate::store::downlink::stored_json::{STORED_FACTOR, stored_bytes};
use crate::store::error::StoreError;

/// How often a change without a condition is made again for a newer version.
const MAX_TRIES: usize = 10;

/// Which version of the desired document a change is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Whatever it is.
    None,
    /// This one; 0 before the first.
    Version(i64),
    /// There is a document.
    Exists,
    /// There is no document.
    Absent,
}

/// A change of the desired document.
#[derive(Clone, Debug)]
pub enum ShadowChange {
    /// Replaces it.
    Set(JsonDocument),
    /// Merges a patch into it (RFC 7396).
    Patch(JsonDocument),
    /// Removes it.
    Clear,
}

/// Why a document was not changed or found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShadowError {
    /// The device is not registered.
    #[error("device {} not found in tenant {}", .0.device(), .0.tenant())]
    NoDevice(DeviceKey),
    /// The document has another version than the change is for.
    #[error("the desired document of device {device} {found}, and the change is for {wanted}")]
    Version {
        /// The device.
        device: DeviceKey,
        /// What there is.
        found: String,
        /// What the change is for.
        wanted: String,
    },
    /// Others change the document all the time.
    #[error("the desired document of device {0} changed {MAX_TRIES} times meanwhile")]
    Busy(DeviceKey),
    /// The result is no document.
    #[error("the desired document would be refused: {0}")]
    Document(#[from] DocumentError),
    /// The database failed.
    #[error("{0}")]
    Outage(#[from] Outage),
}

/// Shows the documents of a device.
pub async fn show(
    context: DownlinkContext<'_>,
    device: &DeviceKey,
) -> Result<ShadowRow, ShadowError> {
    let row = rows::show(context.database.pool(), device).await?;
    row.ok_or_else(|| ShadowError::NoDevice(device.clone()))
}

/// Lists a page of the documents of a tenant's devices, sorted by device.
pub async fn list(
    context: DownlinkContext<'_>,
    filter: &ShadowFilter,
    limit: u32,
) -> Result<ShadowRows, ShadowError> {
    Ok(rows::list(context.database.pool(), filter, limit).await?)
}

/// Changes the desired document; returns the documents after it. Equal content is no change.
pub async fn change(
    context: DownlinkContext<'_>,
    device: &DeviceKey,
    change: &ShadowChange,
    condition: Precondition,
) -> Result<ShadowRow, ShadowError> {
    let pool = context.database.pool();
    for _ in 0..MAX_TRIES {
        let shadow = show(context, device).await?;
        condition.check(device, &shadow)?;
        let desired = change.result(shadow.desired.as_deref())?;
        if desired.is_none() && shadow.desired.is_none() {
            return Ok(shadow);
        }
        if let Some(desired) = &desired {
            // The result of a patch has the bounds of a document, too.
            let max = context.settings.shadow_max_bytes;
            JsonDocument::read(desired.get().as_bytes(), max)?;
            check_stored(context, desired, max).await?;
        }
        let version = shadow.desired_version;
        let desired = desired.as_deref();
        let action = change.action();
        match rows::set_desired(pool, context.actor, device, desired, version, action).await? {
            DesiredChange::Done(row) => return Ok(*row),
            // A condition on the version is checked again, and refuses.
            DesiredChange::Raced => {}
        }
    }
    Err(ShadowError::Busy(device.clone()))
}

// === impl Precondition ===

impl Precondition {
    fn check(self, device: &DeviceKey, shadow: &ShadowRow) -> Result<(), ShadowError> {
        let (wanted, is_met) = match self {
            Self::None => return Ok(()),
            Self::Version(version) => {
                (format!("version {version}"), version == shadow.desired_version)
            }
            Self::Exists => ("an existing document".to_owned(), shadow.desired.is_some()),
            Self::Absent => ("a first document".to_owned(), shadow.desired.is_none()),
        };
        if is_met {
            return Ok(());
        }
        let found = match &shadow.desired {
            Some(_) => format!("has version {}", shadow.desired_version),
            None if shadow.desired_version == 0 => "does not exist (version 0)".to_owned(),
            None => format!("is cleared since version {}", shadow.desired_version),
        };
        Err(ShadowError::Version { device: device.clone(), found, wanted })
    }
}

// === impl ShadowChange ===

impl ShadowChange {
    /// The document after this change of `desired`.
    fn result(&self, desired: Option<&RawValue>) -> Result<Option<Box<RawValue>>, DocumentError> {
        match self {
            Self::Set(document) => Ok(Some(document.raw().to_owned())),
            Self::Patch(patch) => patch.applied_to(desired).map(Some),
            Self::Clear => Ok(None),
        }
    }

    /// Its name in the audit log.
    fn action(&self) -> &'static str {
        match self {
            Self::Set(_) => "shadow.set",
            Self::Patch(_) => "shadow.patch",
            Self::Clear => "shadow.clear",
        }
    }
}

// === private helpers ===

/// A short text may be a long document: `1e300` has 301 digits.
async fn check_stored(
    context: DownlinkContext<'_>,
    document: &RawValue,
    max: usize,
) -> Result<(), ShadowError> {
    match stored_bytes(context.database.pool(), document.get()).await {
        Ok(bytes) if bytes > max * STORED_FACTOR => {
            Err(DocumentError::StoredTooLarge { bytes, max }.into())
        }
        Ok(_) => Ok(()),
        Err(StoreError::Data(why)) => Err(DocumentError::NotStorable(why).into()),
        Err(other) => Err(Outage::from(other).into()),
    }
}
