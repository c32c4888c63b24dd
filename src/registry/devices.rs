//! Decisions about devices: whether one can be added, and which token it gets.
//!
//! A token that is made here is returned once; only its hash is stored. Lists and single devices are
//! read from [`crate::store::registry::devices`].

use serde_json::{Map, Value};
use uuid::Uuid;

use super::ActionContext;
use crate::config::Config;
use crate::domain::device::DeviceStatus;
use crate::domain::ids::DeviceKey;
use crate::domain::token::{NoRandomBytes, SecretToken, TokenHash};
use crate::pki::request::identity::{self, IdentityTooLong};
use crate::store::registry::device_edit::{self, DeviceEdit};
use crate::store::registry::devices::{self, DeviceError, NewDevice};

/// Where the token of a device comes from.
#[derive(Clone, Copy, Debug)]
pub enum TokenChoice {
    /// Made here.
    Make,
    /// Made by the caller, who keeps it.
    Given(TokenHash),
    /// The one that this refused message carried, and with it all that are kept of the device.
    TakenOver(TokenHash, Uuid),
    /// The device has none.
    None,
}

/// A device to add.
#[derive(Clone, Debug)]
pub struct DeviceOrder {
    /// Its identity.
    pub key: DeviceKey,
    /// Its site.
    pub site: Option<String>,
    /// Its status.
    pub status: DeviceStatus,
    /// Free data of its owner: a JSON object.
    pub metadata: Map<String, Value>,
    /// Its token.
    pub token: TokenChoice,
}

/// Why a device was not added or its token not set.
#[derive(Debug, thiserror::Error)]
pub enum DeviceChangeError {
    /// No certificate could name the device.
    #[error(transparent)]
    Name(#[from] IdentityTooLong),
    /// No token could be made.
    #[error(transparent)]
    Token(#[from] NoRandomBytes),
    /// The device or its tenant does not fit, or the database failed.
    #[error(transparent)]
    Store(#[from] DeviceError),
}

/// Adds a device. Returns its token if it was made here.
pub async fn add(
    context: ActionContext<'_>,
    config: &Config,
    order: DeviceOrder,
) -> Result<Option<SecretToken>, DeviceChangeError> {
    check_common_name(&order.key, config)?;
    let token_of_event = match order.token {
        TokenChoice::TakenOver(_, event) => Some(event),
        _ => None,
    };
    let (made, token) = order.token.resolve()?;
    let DeviceOrder { key, site, status, metadata, .. } = order;
    let device = NewDevice { key, site, status, token, token_of_event, metadata };
    devices::add(context.database.pool(), context.actor, &device).await?;
    Ok(made)
}

/// Sets or removes the token of a device; the old token is invalid at once. Returns the new one if
/// it was made here.
pub async fn set_token(
    context: ActionContext<'_>,
    key: &DeviceKey,
    token: TokenChoice,
) -> Result<Option<SecretToken>, DeviceChangeError> {
    let (made, hash) = token.resolve()?;
    devices::set_token(context.database.pool(), context.actor, key, hash.as_ref()).await?;
    Ok(made)
}

/// Sets the status of a device; returns the previous one.
pub async fn set_status(
    context: ActionContext<'_>,
    key: &DeviceKey,
    status: DeviceStatus,
) -> Result<DeviceStatus, DeviceError> {
    devices::set_status(context.database.pool(), context.actor, key, status).await
}

/// Changes a device, if it has the version `expected`: the time of its last change in
/// microseconds.
pub async fn edit(
    context: ActionContext<'_>,
    key: &DeviceKey,
    edit: &DeviceEdit,
    expected: Option<i64>,
) -> Result<(), DeviceError> {
    device_edit::edit(context.database.pool(), context.actor, key, edit, expected).await
}

/// Removes a device with its state and commands; returns the number of certificates revoked with
/// it.
pub async fn remove(context: ActionContext<'_>, key: &DeviceKey) -> Result<u64, DeviceError> {
    devices::remove(context.database.pool(), context.actor, key).await
}

// === impl TokenChoice ===

impl TokenChoice {
    /// The token if it is made here, and the hash to store.
    fn resolve(self) -> Result<(Option<SecretToken>, Option<TokenHash>), NoRandomBytes> {
        Ok(match self {
            Self::Make => {
                let token = SecretToken::generate()?;
                let hash = token.hash();
                (Some(token), Some(hash))
            }
            Self::Given(hash) | Self::TakenOver(hash, _) => (None, Some(hash)),
            Self::None => (None, None),
        })
    }
}

// === private helpers ===

/// Refuses an identity that no certificate can contain, while devices authenticate by certificate.
fn check_common_name(key: &DeviceKey, config: &Config) -> Result<(), IdentityTooLong> {
    if config.ingest.cert_auth_enabled {
        identity::common_name(key, config.certificates.cn_format)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;
    use crate::config::sections::certificates::CnFormat;

    #[test]
    fn a_name_too_long_for_a_certificate_is_refused_with_certificates() {
        let mut config = Config::load(&Sources::default()).unwrap().config;
        config.ingest.cert_auth_enabled = true;
        config.certificates.cn_format = CnFormat::Plain;
        // In the plain form `acme/` and 59 characters are the 64 that X.509 allows.
        let longest = DeviceKey::new("acme", &"d".repeat(59)).unwrap();
        let longer = DeviceKey::new("acme", &"d".repeat(60)).unwrap();
        assert_eq!(check_common_name(&longest, &config), Ok(()));
        let refused = check_common_name(&longer, &config).unwrap_err().to_string();
        assert!(refused.contains("65 characters") && refused.contains("by 1"), "{refused}");
        config.certificates.cn_format = CnFormat::Strict;
        assert!(check_common_name(&longest, &config).is_err(), "the strict form is longer");
        config.ingest.cert_auth_enabled = false;
        assert_eq!(check_common_name(&longer, &config), Ok(()));
    }

    #[test]
    fn a_made_token_has_the_stored_hash_and_a_given_one_is_not_returned() {
        let (made, hash) = TokenChoice::Make.resolve().unwrap();
        assert!(hash.unwrap().matches(made.unwrap().into_text()));
        let given = TokenHash::of("s3cret");
        let (made, hash) = TokenChoice::Given(given).resolve().unwrap();
        assert!(made.is_none() && hash == Some(given));
        let (made, hash) = TokenChoice::None.resolve().unwrap();
        assert!(made.is_none() && hash.is_none());
    }
}
