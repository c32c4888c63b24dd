//! Keys whose certificates were revoked for cause: no further certificate is made for them.
//!
//! A key whose certificate was replaced, or ended with its removed device, is as good as before: a
//! secure element has no other.

use sqlx::PgConnection;
use uuid::Uuid;

use super::expiry::SUPERSEDED;
use crate::domain::ids::DeviceKey;
use crate::store::registry::devices::REMOVED;

/// Which revocations count against a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum KeyRule {
    /// Those for cause.
    ForCause,
    /// Also those of replaced certificates: an old request may come again.
    ForCauseOrReplaced,
}

/// A revoked certificate of `device` that counts against the key of this hash.
pub(in crate::store) async fn find(
    connection: &mut PgConnection,
    device: &DeviceKey,
    public_key: &str,
    rule: KeyRule,
) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT id FROM device_certificates \
         WHERE tenant_id = $1 AND device_id = $2 AND public_key_sha256 = $3 AND status = 'REVOKED' \
             AND revoked_reason IS DISTINCT FROM $4 AND ($5 OR revoked_reason IS DISTINCT FROM $6) LIMIT 1",
    )
    .bind(device.tenant())
    .bind(device.device())
    .bind(public_key)
    .bind(REMOVED)
    .bind(rule == KeyRule::ForCauseOrReplaced)
    .bind(SUPERSEDED)
    .fetch_optional(connection)
    .await
}
