//! The state of revocations in Postgres: the revoked certificates, the CRL published last, and when
//! each step was done.
//!
//! One replica is the publisher, by an advisory lock that ends with its connection. All its writes
//! use that connection, so a replica that lost the lock cannot write. It signs nothing and notifies
//! no broker.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::publisher_lock::PublisherLock;
use crate::domain::clocks::Clocks;
use crate::domain::ports::Outage;
use crate::domain::time::{Clock, Timestamp};
use crate::store::cells::cell_side;
use crate::store::connection::clocks;
use crate::store::connection::database::Database;
use crate::store::connection::writer_connection::{WriterConnection, answer};
use crate::store::error::StoreError;

/// Revocations handled per round; the rest waits for the next one.
pub const MAX_OPEN: i64 = 500;

/// The connection of the publisher, or of a replica that waits to become it.
#[derive(Debug)]
pub struct RevocationLedger {
    pub(crate) session: WriterConnection,
    lock: PublisherLock,
}

/// One step of a revocation, by its name in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationStep {
    /// A CRL lists it, and the file is written.
    Published,
    /// The broker was notified.
    Reloaded,
    /// The live session has ended.
    Ended,
    /// The probe saw the broker refuse a certificate of that CRL.
    Proven,
}

/// A certificate that the CRL must list.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct RevokedRow {
    /// The certificate; `None` means a probe certificate.
    pub id: Option<Uuid>,
    /// In hex.
    pub serial_number: String,
    /// When it was revoked.
    pub revoked_at: DateTime<Utc>,
    /// The reason, by its label.
    pub revoked_reason: Option<String>,
}

/// A revocation with steps left.
#[expect(clippy::struct_excessive_bools, reason = "each is a revocation step that is done or not")]
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct OpenRevocation {
    /// The certificate.
    pub certificate_id: Uuid,
    /// Its common name: the client id at the broker.
    pub common_name: String,
    /// SHA-256 of its DER, in lower-case hex.
    pub fingerprint_sha256: String,
    /// When the row changed.
    pub noticed_at: DateTime<Utc>,
    /// The CRL that lists it.
    pub crl_number: Option<i64>,
    /// Whether the broker was notified.
    pub is_reloaded: bool,
    /// Whether the live session was ended.
    pub is_ended: bool,
    /// Whether all steps were done before, and only the session must be ended again.
    pub is_proven: bool,
    /// Whether the device has another valid certificate with the same common name.
    pub has_successor: bool,
}

/// The state of the CRL published last.
#[derive(Clone, Debug, Default, sqlx::FromRow)]
pub struct CrlRow {
    /// Its issuer.
    pub issuer: Option<String>,
    /// Its number; 0 means none was published.
    pub crl_number: i64,
    /// Number of certificates it lists, probe certificates included.
    pub entries: i64,
    /// When it expires.
    pub next_update: Option<DateTime<Utc>>,
    /// When it was published.
    pub published_at: Option<DateTime<Utc>>,
    /// When a new CRL was requested.
    pub requested_at: Option<DateTime<Utc>>,
    /// Whether the probe saw the broker enforce it; `None` means it was not probed yet.
    pub enforced: Option<bool>,
    /// What the probe found wrong.
    pub finding: Option<String>,
    /// When the broker was last probed.
    pub looked_at: Option<DateTime<Utc>>,
}

/// When each step of one revocation was done, and which step failed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, sqlx::FromRow)]
pub struct RevocationProgress {
    /// The certificate.
    pub certificate_id: Uuid,
    /// When the row changed.
    pub noticed_at: DateTime<Utc>,
    /// When a CRL that lists it was published.
    pub published_at: Option<DateTime<Utc>>,
    /// The number of that CRL.
    pub crl_number: Option<i64>,
    /// When the broker was notified.
    pub reloaded_at: Option<DateTime<Utc>>,
    /// When the live session was ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// When the probe proved that the broker enforces that CRL.
    pub proven_at: Option<DateTime<Utc>>,
    /// The step that failed last.
    pub failed_link: Option<String>,
    /// Why it failed.
    pub failure: Option<String>,
}

const PROGRESS: &str = "SELECT certificate_id, noticed_at, published_at, crl_number, reloaded_at, ended_at, proven_at, \
    failed_link, failure FROM certificate_revocations WHERE certificate_id = $1";

const STATE: &str = "SELECT issuer, crl_number, entries, next_update, published_at, requested_at, enforced, finding, \
    looked_at FROM crl_state";

const LAST_LIST: &str = "SELECT der FROM crl_state";

/// A certificate leaves the CRL after one CRL that was made past its end has listed it (RFC 5280, 3.3).
/// A CRL begins five minutes before it is published.
const REVOKED: &str = "WITH kept AS (SELECT least(now(), $2, (SELECT published_at - interval '5 minutes' FROM crl_state \
        WHERE issuer = $1)) AS since) \
    SELECT certificate_id AS id, serial_number, revoked_at, revoked_reason \
    FROM revoked_certificates, kept WHERE issuer = $1 AND not_after > since \
    UNION ALL SELECT NULL, serial_number, revoked_at, NULL FROM crl_canaries, kept WHERE issuer = $1 AND not_after > since";

const OPEN: &str = "SELECT r.certificate_id, c.common_name, c.fingerprint_sha256, r.noticed_at, r.crl_number, \
        r.reloaded_at IS NOT NULL AS is_reloaded, r.ended_at IS NOT NULL AS is_ended, \
        r.proven_at IS NOT NULL AS is_proven, \
        EXISTS (SELECT FROM device_certificates s WHERE s.tenant_id = c.tenant_id AND s.device_id = c.device_id \
            AND s.status = 'ACTIVE' AND s.common_name = c.common_name AND s.not_after > now()) AS has_successor \
    FROM certificate_revocations r JOIN revoked_certificates c USING (certificate_id) \
    WHERE (r.proven_at IS NULL OR r.ended_at IS NULL) AND c.issuer = $1 AND c.not_after > least(now(), $4) \
      AND ($3 OR r.ended_at IS NULL) \
    ORDER BY r.crl_number IS NOT NULL, coalesce(r.failed_link = 'ended', false), r.proven_at IS NOT NULL, \
        least(row_number() OVER (ORDER BY r.noticed_at), row_number() OVER (ORDER BY r.noticed_at DESC)) LIMIT $2";

const DOUBTED: &str = "UPDATE certificate_revocations r SET ended_at = NULL FROM revoked_certificates c \
    WHERE c.certificate_id = r.certificate_id AND c.issuer = $1 AND c.not_after > now() AND r.ended_at IS NOT NULL";

const PUBLISHED: &str = "WITH state AS (UPDATE crl_state SET issuer = $1, crl_number = $2, der = $3, entries = $4, \
        next_update = $5, published_at = clock_timestamp()) \
    UPDATE certificate_revocations SET crl_number = $2, published_at = clock_timestamp(), failed_link = NULL, \
        failure = NULL, failed_at = NULL WHERE certificate_id = ANY($6) AND crl_number IS NULL";

const FAILED: &str = "UPDATE certificate_revocations SET failed_link = $2, failure = $3, failed_at = clock_timestamp() \
    WHERE certificate_id = ANY($1)";

/// Reads the progress of a revocation. `None` means the certificate was never revoked.
pub async fn progress(
    pool: &PgPool,
    certificate: Uuid,
) -> Result<Option<RevocationProgress>, Outage> {
    outage(sqlx::query_as(PROGRESS).bind(certificate).fetch_optional(pool).await)
}

/// Reads the CRL published last, in DER. `None` means none was published.
pub async fn last_list(pool: &PgPool) -> Result<Option<Vec<u8>>, Outage> {
    outage(sqlx::query_scalar(LAST_LIST).fetch_one(pool).await)
}

/// Reads the state of the CRL published last.
pub async fn published(pool: &PgPool) -> Result<CrlRow, Outage> {
    outage(sqlx::query_as(STATE).fetch_one(pool).await)
}

// === impl RevocationLedger ===

impl RevocationLedger {
    /// Connects, not as publisher.
    pub async fn open(database: &Database) -> Result<Self, Outage> {
        let session = WriterConnection::open(database.bounded_options()).await?;
        Ok(Self { session, lock: PublisherLock::default() })
    }

    /// Tries to become the publisher; returns whether this is the publisher.
    pub async fn claim(&mut self, has_plugin: bool) -> Result<bool, Outage> {
        self.lock.claim(&mut self.session.connection, has_plugin).await
    }

    /// Whether the publisher must give up the lock to a replica that has the broker's plugin.
    pub async fn must_yield(&mut self, has_plugin: bool) -> Result<bool, Outage> {
        self.lock.must_yield(&mut self.session.connection, has_plugin).await
    }

    /// Reads the CRL published last, in DER.
    pub async fn last_list(&mut self) -> Result<Option<Vec<u8>>, Outage> {
        Ok(answer(sqlx::query_scalar(LAST_LIST).fetch_one(&mut self.session.connection)).await?)
    }

    /// Reads the state of the CRL published last.
    pub async fn state(&mut self) -> Result<CrlRow, Outage> {
        Ok(answer(sqlx::query_as(STATE).fetch_one(&mut self.session.connection)).await?)
    }

    /// Reads this machine's clock and Postgres' clock.
    pub async fn clocks(&mut self, clock: Clock) -> Result<Clocks, Outage> {
        Ok(clocks::read(&mut self.session.connection, clock).await?)
    }

    /// All certificates that a CRL of `issuer` must list: without those that ended by both
    /// Postgres' clock and `now`, and that a CRL made after their end has listed. Refused in a cell that
    /// has not received all of them yet.
    pub async fn revoked(
        &mut self,
        issuer: &str,
        now: Timestamp,
    ) -> Result<Vec<RevokedRow>, Outage> {
        cell_side::refuse_while_copying(&mut self.session).await?;
        let query = sqlx::query_as(REVOKED).bind(issuer).bind(now.to_utc());
        Ok(answer(query.fetch_all(&mut self.session.connection)).await?)
    }

    /// At most [`MAX_OPEN`] revocations with steps left: first those in no CRL, last those whose
    /// session could not be ended; within a group the oldest and the newest alternate, so that
    /// neither waits for all others. If `provable` is false, the end of the session is the last
    /// step. It omits certificates that ended by both Postgres' clock and `now`.
    pub async fn open_revocations(
        &mut self,
        issuer: &str,
        provable: bool,
        now: Timestamp,
    ) -> Result<Vec<OpenRevocation>, Outage> {
        let query =
            sqlx::query_as(OPEN).bind(issuer).bind(MAX_OPEN).bind(provable).bind(now.to_utc());
        Ok(answer(query.fetch_all(&mut self.session.connection)).await?)
    }

    /// Returns the number of the next CRL: higher than all before, and than `above`.
    pub async fn next_number(&mut self, above: u64) -> Result<u64, Outage> {
        let above = i64::try_from(above)
            .map_err(|_| Outage("the number of the last CRL exceeds 63 bits".into()))?;
        let query = sqlx::query_scalar(
            "SELECT setval('crl_numbers', greatest(nextval('crl_numbers'), $1 + 1, crl_number + 1)) FROM crl_state",
        );
        let number: i64 = answer(query.bind(above).fetch_one(&mut self.session.connection)).await?;
        Ok(number.unsigned_abs())
    }

    /// Stores a probe certificate that the next CRL revokes; deletes those that expired 90 days
    /// ago.
    pub async fn add_canary(
        &mut self,
        issuer: &str,
        serial: &str,
        not_after: Timestamp,
    ) -> Result<(), Outage> {
        let query = sqlx::query(
            "WITH gone AS (DELETE FROM crl_canaries WHERE not_after < now() - interval '90 days') \
             INSERT INTO crl_canaries (issuer, serial_number, not_after) VALUES ($1, $2, $3)",
        );
        let query = query.bind(issuer).bind(serial).bind(not_after.to_utc());
        answer(query.execute(&mut self.session.connection)).await?;
        Ok(())
    }

    /// Records a published CRL and the certificates it lists.
    pub async fn note_published(
        &mut self,
        list: &CrlRow,
        der: &[u8],
        certificates: &[Uuid],
    ) -> Result<(), Outage> {
        let query = sqlx::query(PUBLISHED).bind(&list.issuer).bind(list.crl_number).bind(der);
        let query = query.bind(list.entries).bind(list.next_update).bind(certificates);
        answer(query.execute(&mut self.session.connection)).await?;
        Ok(())
    }

    /// Records that `step` is done for `certificates`.
    pub async fn note_held(
        &mut self,
        step: RevocationStep,
        certificates: &[Uuid],
    ) -> Result<(), Outage> {
        let column = match step {
            RevocationStep::Published => return Ok(()),
            RevocationStep::Reloaded => {
                "UPDATE certificate_revocations SET reloaded_at = clock_timestamp(), failed_link = NULL, \
                failure = NULL, failed_at = NULL WHERE certificate_id = ANY($1) AND reloaded_at IS NULL"
            }
            RevocationStep::Ended => {
                "UPDATE certificate_revocations SET ended_at = clock_timestamp(), failed_link = NULL, \
                failure = NULL, failed_at = NULL WHERE certificate_id = ANY($1) AND ended_at IS NULL"
            }
            RevocationStep::Proven => {
                "UPDATE certificate_revocations SET proven_at = clock_timestamp(), failed_link = NULL, \
                failure = NULL, failed_at = NULL WHERE certificate_id = ANY($1) AND proven_at IS NULL"
            }
        };
        answer(sqlx::query(column).bind(certificates).execute(&mut self.session.connection))
            .await?;
        Ok(())
    }

    /// Records that the broker may have read a CRL without these revocations: their sessions must
    /// be ended again.
    pub async fn doubt_sessions(&mut self, issuer: &str) -> Result<(), Outage> {
        answer(sqlx::query(DOUBTED).bind(issuer).execute(&mut self.session.connection)).await?;
        Ok(())
    }

    /// Records that `step` failed for `certificates`.
    pub async fn note_failed(
        &mut self,
        step: RevocationStep,
        why: &str,
        certificates: &[Uuid],
    ) -> Result<(), Outage> {
        let query = sqlx::query(FAILED).bind(certificates).bind(step.label()).bind(why);
        answer(query.execute(&mut self.session.connection)).await?;
        Ok(())
    }

    /// Records whether the broker enforces the CRL; `None` means it cannot be probed.
    pub async fn note_enforced(
        &mut self,
        enforced: impl Into<Option<bool>>,
        finding: Option<&str>,
    ) -> Result<(), Outage> {
        let query = sqlx::query(
            "UPDATE crl_state SET enforced = $1, finding = $2, looked_at = clock_timestamp()",
        );
        answer(query.bind(enforced.into()).bind(finding).execute(&mut self.session.connection))
            .await?;
        Ok(())
    }

    /// Requests a new CRL from the publisher.
    pub async fn request(&mut self) -> Result<(), Outage> {
        let query = sqlx::query("UPDATE crl_state SET requested_at = clock_timestamp()");
        answer(query.execute(&mut self.session.connection)).await?;
        Ok(())
    }

    /// Closes the connection, which releases the lock.
    pub async fn close(self) {
        self.session.close().await;
    }
}

// === impl RevocationProgress ===

impl RevocationProgress {
    /// When `step` was done.
    pub const fn held_at(&self, step: RevocationStep) -> Option<DateTime<Utc>> {
        match step {
            RevocationStep::Published => self.published_at,
            RevocationStep::Reloaded => self.reloaded_at,
            RevocationStep::Ended => self.ended_at,
            RevocationStep::Proven => self.proven_at,
        }
    }
}

// === impl RevocationStep ===

impl RevocationStep {
    /// All steps, in order.
    pub const ALL: [Self; 4] = [Self::Published, Self::Reloaded, Self::Ended, Self::Proven];

    /// The step of that name.
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.label() == label)
    }

    /// Its name in the table and in messages.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Reloaded => "reloaded",
            Self::Ended => "ended",
            Self::Proven => "proven",
        }
    }
}

// --- private helpers ---

fn outage<T>(result: Result<T, sqlx::Error>) -> Result<T, Outage> {
    result.map_err(|error| StoreError::from(error).into())
}
