//! The rows from which the broker's access rules are made, and the state of the last file.
//!
//! It writes over the publisher's connection: a replica that has lost the lock cannot write. It
//! writes no file.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::domain::ports::Outage;
use crate::store::certificates::revocation_ledger::RevocationLedger;
use crate::store::connection::writer_connection::answer;
use crate::store::error::StoreError;

/// Devices per statement, so that each stays far below the statement timeout.
const CHUNK: i64 = 20_000;

/// The state of the access rules written last.
#[derive(Clone, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct BrokerAclRow {
    /// `patterns` or `rows`; `None` means none was written yet.
    pub mode: Option<String>,
    /// The version that the broker states.
    pub broker_version: Option<String>,
    /// SHA-256 of the file.
    pub digest: Option<Vec<u8>>,
    /// Lines of the file that Sluice made.
    pub generated: i64,
    /// When it was written.
    pub written_at: Option<DateTime<Utc>>,
    /// When the broker was notified of it.
    pub notified_at: Option<DateTime<Utc>>,
    /// What is wrong; `None` means nothing.
    pub finding: Option<String>,
}

/// Tenant and device, as stored.
pub type Names = (String, String);

const STATE: &str = "SELECT mode, broker_version, digest, generated, written_at, notified_at, finding FROM broker_acl_state";

/// Sorted by name, after a given device.
const PERMITTED: &str = "SELECT d.tenant_id, d.device_id FROM devices d JOIN tenants t ON t.tenant_id = d.tenant_id \
    WHERE (d.tenant_id, d.device_id) > ($1, $2) AND d.status = 'ACTIVE' AND t.status = 'ACTIVE' \
    ORDER BY d.tenant_id, d.device_id LIMIT $3";

/// Devices with a certificate first, then the most recently changed.
const BARRED: &str = "SELECT d.tenant_id, d.device_id FROM devices d JOIN tenants t ON t.tenant_id = d.tenant_id \
    WHERE d.status <> 'ACTIVE' OR t.status <> 'ACTIVE' \
    ORDER BY EXISTS (SELECT FROM device_certificates c WHERE c.tenant_id = d.tenant_id AND c.device_id = d.device_id \
        AND c.status = 'ACTIVE') DESC, d.updated_at DESC, d.tenant_id, d.device_id LIMIT $1";

/// Devices with a certificate whose common name does not have the configured form.
const OTHER_NAMES: &str = "SELECT DISTINCT tenant_id, device_id FROM device_certificates WHERE status = 'ACTIVE' \
    AND not_after > now() AND common_name = tenant_id || $1 || device_id ORDER BY 1, 2 LIMIT $2";

const WRITTEN: &str = "UPDATE broker_acl_state SET mode = $1, digest = $2, generated = $3, written_at = clock_timestamp()";

/// Reads the state of the access rules written last.
pub async fn state(pool: &PgPool) -> Result<BrokerAclRow, Outage> {
    sqlx::query_as(STATE).fetch_one(pool).await.map_err(|error| StoreError::from(error).into())
}

// === impl RevocationLedger ===

impl RevocationLedger {
    /// Reads the state of the access rules written last.
    pub async fn acl_state(&mut self) -> Result<BrokerAclRow, Outage> {
        Ok(answer(sqlx::query_as(STATE).fetch_one(&mut self.session.connection)).await?)
    }

    /// Devices that may publish (ACTIVE, of an ACTIVE tenant), sorted by name. More than `most`
    /// rows mean that there are more.
    pub async fn acl_permitted(&mut self, most: usize) -> Result<Vec<Names>, Outage> {
        let mut found: Vec<Names> = Vec::new();
        while found.len() <= most {
            let (tenant, device) = found.last().cloned().unwrap_or_default();
            let query = sqlx::query_as(PERMITTED).bind(tenant).bind(device).bind(CHUNK);
            let chunk: Vec<Names> = answer(query.fetch_all(&mut self.session.connection)).await?;
            let is_last = i64::try_from(chunk.len()).is_ok_and(|length| length < CHUNK);
            found.extend(chunk);
            if is_last {
                break;
            }
        }
        Ok(found)
    }

    /// At most `most` of all other devices; those most likely to connect come first.
    pub async fn acl_barred(&mut self, most: usize) -> Result<Vec<Names>, Outage> {
        let query = sqlx::query_as(BARRED).bind(i64::try_from(most).unwrap_or(i64::MAX));
        Ok(answer(query.fetch_all(&mut self.session.connection)).await?)
    }

    /// Devices with a certificate whose common name joins tenant and device by `joint`.
    pub async fn acl_other_names(
        &mut self,
        joint: &str,
        most: usize,
    ) -> Result<Vec<Names>, Outage> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let query = sqlx::query_as(OTHER_NAMES).bind(joint).bind(most);
        Ok(answer(query.fetch_all(&mut self.session.connection)).await?)
    }

    /// Records that the file was written.
    pub async fn note_acl_written(
        &mut self,
        mode: &str,
        digest: &[u8],
        generated: i64,
    ) -> Result<(), Outage> {
        let query = sqlx::query(WRITTEN).bind(mode).bind(digest).bind(generated);
        answer(query.execute(&mut self.session.connection)).await?;
        Ok(())
    }

    /// Records that the broker was notified.
    pub async fn note_acl_notified(&mut self) -> Result<(), Outage> {
        let query = sqlx::query("UPDATE broker_acl_state SET notified_at = clock_timestamp()");
        answer(query.execute(&mut self.session.connection)).await?;
        Ok(())
    }

    /// Records the broker's version, and what is wrong with its access rules; `None` means unknown
    /// or nothing.
    pub async fn note_acl_finding(
        &mut self,
        version: Option<&str>,
        finding: Option<&str>,
    ) -> Result<(), Outage> {
        let query = sqlx::query(
            "UPDATE broker_acl_state SET broker_version = coalesce($1, broker_version), finding = $2, \
             looked_at = clock_timestamp()",
        );
        answer(query.bind(version).bind(finding).execute(&mut self.session.connection)).await?;
        Ok(())
    }
}
