//! What the broker's access rules are made of, and what is known of the file that was written last.
//!
//! It goes over the publisher's connection: a replica that has lost the lock can note nothing. It writes no file.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::domain::ports::Outage;
use crate::store::certificates::revocation_ledger::RevocationLedger;
use crate::store::connection::writer_connection::answer;
use crate::store::error::StoreError;

/// Devices per statement: each ends far below the statement's time limit.
const CHUNK: i64 = 20_000;

/// What is known of the access rules written last.
#[derive(Clone, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct BrokerAclRow {
    /// `patterns` or `rows`; none: none written yet.
    pub mode: Option<String>,
    /// What the broker states of itself.
    pub broker_version: Option<String>,
    /// SHA-256 of the file.
    pub digest: Option<Vec<u8>>,
    /// Lines of the file that Sluice made.
    pub generated: i64,
    /// When it was written.
    pub written_at: Option<DateTime<Utc>>,
    /// When the broker was notified of it.
    pub notified_at: Option<DateTime<Utc>>,
    /// What is wrong; none: nothing.
    pub finding: Option<String>,
}

/// Tenant and device, as they stand in the table.
pub type Names = (String, String);

const STATE: &str =
    "SELECT mode, broker_version, digest, generated, written_at, notified_at, finding FROM broker_acl_state";

/// In the order of their names, after a device.
const PERMITTED: &str = "SELECT d.tenant_id, d.device_id FROM devices d JOIN tenants t ON t.tenant_id = d.tenant_id \
    WHERE (d.tenant_id, d.device_id) > ($1, $2) AND d.status = 'ACTIVE' AND t.status = 'ACTIVE' \
    ORDER BY d.tenant_id, d.device_id LIMIT $3";

/// First those that hold a certificate, then those whose row changed last.
const BARRED: &str = "SELECT d.tenant_id, d.device_id FROM devices d JOIN tenants t ON t.tenant_id = d.tenant_id \
    WHERE d.status <> 'ACTIVE' OR t.status <> 'ACTIVE' \
    ORDER BY EXISTS (SELECT FROM device_certificates c WHERE c.tenant_id = d.tenant_id AND c.device_id = d.device_id \
        AND c.status = 'ACTIVE') DESC, d.updated_at DESC, d.tenant_id, d.device_id LIMIT $1";

/// Devices that hold a certificate whose common name has the form that is not the usual one here.
const OTHER_NAMES: &str = "SELECT DISTINCT tenant_id, device_id FROM device_certificates WHERE status = 'ACTIVE' \
    AND not_after > now() AND common_name = tenant_id || $1 || device_id ORDER BY 1, 2 LIMIT $2";

const WRITTEN: &str =
    "UPDATE broker_acl_state SET mode = $1, digest = $2, generated = $3, written_at = clock_timestamp()";

/// What is known of the access rules written last.
pub async fn state(pool: &PgPool) -> Result<BrokerAclRow, Outage> {
    sqlx::query_as(STATE).fetch_one(pool).await.map_err(|error| StoreError::from(error).into())
}

// === impl Ledger ===

impl RevocationLedger {
    /// What is known of the access rules written last.
    pub async fn acl_state(&mut self) -> Result<BrokerAclRow, Outage> {
        Ok(answer(sqlx::query_as(STATE).fetch_one(&mut self.session.connection)).await?)
    }

    /// Devices that may publish: ACTIVE, of an ACTIVE tenant, in the order of their names; one more than `most`, or as many as
    /// a chunk holds, when there are more.
    pub async fn acl_permitted(&mut self, most: usize) -> Result<Vec<Names>, Outage> {
        let mut found: Vec<Names> = Vec::new();
        while found.len() <= most {
            let (tenant, device) = found.last().cloned().unwrap_or_default();
            let asked = sqlx::query_as(PERMITTED).bind(tenant).bind(device).bind(CHUNK);
            let chunk: Vec<Names> = answer(asked.fetch_all(&mut self.session.connection)).await?;
            let is_last = i64::try_from(chunk.len()).is_ok_and(|length| length < CHUNK);
            found.extend(chunk);
            if is_last {
                break;
            }
        }
        Ok(found)
    }

    /// All others, so many at most; those that are most likely to connect come first.
    pub async fn acl_barred(&mut self, most: usize) -> Result<Vec<Names>, Outage> {
        let asked = sqlx::query_as(BARRED).bind(i64::try_from(most).unwrap_or(i64::MAX));
        Ok(answer(asked.fetch_all(&mut self.session.connection)).await?)
    }

    /// Devices with a certificate whose common name joins tenant and device by `joint`.
    pub async fn acl_other_names(&mut self, joint: &str, most: usize) -> Result<Vec<Names>, Outage> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let asked = sqlx::query_as(OTHER_NAMES).bind(joint).bind(most);
        Ok(answer(asked.fetch_all(&mut self.session.connection)).await?)
    }

    /// The file was written.
    pub async fn note_acl_written(&mut self, mode: &str, digest: &[u8], generated: i64) -> Result<(), Outage> {
        let asked = sqlx::query(WRITTEN).bind(mode).bind(digest).bind(generated);
        answer(asked.execute(&mut self.session.connection)).await?;
        Ok(())
    }

    /// The broker was notified of it.
    pub async fn note_acl_notified(&mut self) -> Result<(), Outage> {
        let asked = sqlx::query("UPDATE broker_acl_state SET notified_at = clock_timestamp()");
        answer(asked.execute(&mut self.session.connection)).await?;
        Ok(())
    }

    /// What the broker states of itself, and what is wrong with its access rules.
    pub async fn note_acl_finding(&mut self, version: Option<&str>, finding: Option<&str>) -> Result<(), Outage> {
        let asked = sqlx::query(
            "UPDATE broker_acl_state SET broker_version = coalesce($1, broker_version), finding = $2, \
             looked_at = clock_timestamp()",
        );
        answer(asked.bind(version).bind(finding).execute(&mut self.session.connection)).await?;
        Ok(())
    }
}
