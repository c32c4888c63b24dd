//! The chain of revocation as it stands in Postgres: what is revoked, which list was published, which link held when.
//!
//! One replica is the publisher, by an advisory lock that ends with its connection; all it writes goes over that same
//! connection, so who has lost the lock can write nothing. It signs nothing and tells no broker.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::domain::clocks::Clocks;
use crate::domain::ports::Outage;
use crate::domain::time::{Clock, Timestamp};
use crate::store::connection::clocks;
use crate::store::connection::database::Database;
use crate::store::connection::writer_connection::{WriterConnection, answer};
use crate::store::error::StoreError;

/// "sluice", then a number of its own: who holds it is the publisher.
const PUBLISHER_LOCK: i64 = 0x736c_7569_6365_0009;

/// Revocations that are taken up at a time; the rest waits for the next turn.
pub const MAX_OPEN: i64 = 500;

/// A connection of the publisher, or of one who would be.
#[derive(Debug)]
pub struct RevocationLedger {
    pub(crate) session: WriterConnection,
    is_publisher: bool,
}

/// One link of the chain, by its name in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationStep {
    /// It stands in a CRL, and the file is there.
    Published,
    /// The broker was told.
    Reloaded,
    /// The live session is gone.
    Ended,
    /// The broker was seen to refuse a certificate of that list.
    Proven,
}

/// A certificate that must stand in the list.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct RevokedRow {
    /// The certificate; none: a canary.
    pub id: Option<Uuid>,
    /// In hex.
    pub serial_number: String,
    /// Since when.
    pub revoked_at: DateTime<Utc>,
    /// Why, by its label.
    pub revoked_reason: Option<String>,
}

/// A revocation whose chain has not held to its end.
#[expect(clippy::struct_excessive_bools, reason = "each is a link of the chain that holds or not")]
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct OpenRevocation {
    /// The certificate.
    pub certificate_id: Uuid,
    /// Its common name: the client id at the broker.
    pub common_name: String,
    /// When the row changed.
    pub noticed_at: DateTime<Utc>,
    /// The list it stands in.
    pub crl_number: Option<i64>,
    /// Whether the broker was told.
    pub is_reloaded: bool,
    /// Whether the live session was ended.
    pub is_ended: bool,
    /// Whether the chain held before, and only the session is in doubt again.
    pub is_proven: bool,
    /// Whether the device holds another certificate, good now, with the same name.
    pub has_successor: bool,
}

/// What is known of the list published last.
#[derive(Clone, Debug, Default, sqlx::FromRow)]
pub struct CrlRow {
    /// Whose.
    pub issuer: Option<String>,
    /// Its number; 0: none yet.
    pub crl_number: i64,
    /// How many certificates stand in it, canaries included.
    pub entries: i64,
    /// When it ends.
    pub next_update: Option<DateTime<Utc>>,
    /// When it was published.
    pub published_at: Option<DateTime<Utc>>,
    /// When somebody asked for a new one.
    pub requested_at: Option<DateTime<Utc>>,
    /// Whether the broker was seen to enforce it; none: not looked yet.
    pub enforced: Option<bool>,
    /// What was wrong, when it was not.
    pub finding: Option<String>,
    /// When that was looked at.
    pub looked_at: Option<DateTime<Utc>>,
}

/// When each link of one certificate's revocation held, and what did not.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, sqlx::FromRow)]
pub struct RevocationProgress {
    /// The certificate.
    pub certificate_id: Uuid,
    /// The row.
    pub noticed_at: DateTime<Utc>,
    /// The CRL.
    pub published_at: Option<DateTime<Utc>>,
    /// The number of that list.
    pub crl_number: Option<i64>,
    /// The broker was told.
    pub reloaded_at: Option<DateTime<Utc>>,
    /// The live session.
    pub ended_at: Option<DateTime<Utc>>,
    /// The proof.
    pub proven_at: Option<DateTime<Utc>>,
    /// The link that failed when it was tried last.
    pub failed_link: Option<String>,
    /// Why.
    pub failure: Option<String>,
}

const PROGRESS: &str = "SELECT certificate_id, noticed_at, published_at, crl_number, reloaded_at, ended_at, proven_at, \
    failed_link, failure FROM certificate_revocations WHERE certificate_id = $1";

const STATE: &str = "SELECT issuer, crl_number, entries, next_update, published_at, requested_at, enforced, finding, \
    looked_at FROM crl_state";

const LAST_LIST: &str = "SELECT der FROM crl_state";

const REVOKED: &str = "SELECT certificate_id AS id, serial_number, revoked_at, revoked_reason \
    FROM revoked_certificates WHERE issuer = $1 AND not_after > least(now(), $2) \
    UNION ALL SELECT NULL, serial_number, revoked_at, NULL FROM crl_canaries \
    WHERE issuer = $1 AND not_after > least(now(), $2)";

const OPEN: &str = "SELECT r.certificate_id, c.common_name, r.noticed_at, r.crl_number, \
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

/// How far the revocation of a certificate has come; none: it was never revoked.
pub async fn progress(pool: &PgPool, certificate: Uuid) -> Result<Option<RevocationProgress>, Outage> {
    told(sqlx::query_as(PROGRESS).bind(certificate).fetch_optional(pool).await)
}

/// The list published last, in DER; none: there is none yet.
pub async fn last_list(pool: &PgPool) -> Result<Option<Vec<u8>>, Outage> {
    told(sqlx::query_scalar(LAST_LIST).fetch_one(pool).await)
}

/// What is known of the list published last.
pub async fn published(pool: &PgPool) -> Result<CrlRow, Outage> {
    told(sqlx::query_as(STATE).fetch_one(pool).await)
}

// === impl Ledger ===

impl RevocationLedger {
    /// Connects; it is not the publisher yet.
    pub async fn open(database: &Database) -> Result<Self, Outage> {
        let session = WriterConnection::open(database.bounded_options()).await?;
        Ok(Self { session, is_publisher: false })
    }

    /// Becomes the publisher unless another is; says whether this is the publisher now.
    pub async fn claim(&mut self) -> Result<bool, Outage> {
        if !self.is_publisher {
            let asked = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(PUBLISHER_LOCK);
            self.is_publisher = answer(asked.fetch_one(&mut self.session.connection)).await?;
        }
        Ok(self.is_publisher)
    }

    /// The list published last, in DER.
    pub async fn last_list(&mut self) -> Result<Option<Vec<u8>>, Outage> {
        Ok(answer(sqlx::query_scalar(LAST_LIST).fetch_one(&mut self.session.connection)).await?)
    }

    /// What is known of it.
    pub async fn state(&mut self) -> Result<CrlRow, Outage> {
        Ok(answer(sqlx::query_as(STATE).fetch_one(&mut self.session.connection)).await?)
    }

    /// This machine's clock and Postgres', read now.
    pub async fn clocks(&mut self, clock: Clock) -> Result<Clocks, Outage> {
        Ok(clocks::read(&mut self.session.connection, clock).await?)
    }

    /// All that must stand in a list of this issuer: what has ended by Postgres' clock and by `now` has dropped out.
    pub async fn revoked(&mut self, issuer: &str, now: Timestamp) -> Result<Vec<RevokedRow>, Outage> {
        let asked = sqlx::query_as(REVOKED).bind(issuer).bind(now.to_utc());
        Ok(answer(asked.fetch_all(&mut self.session.connection)).await?)
    }

    /// Revocations whose chain has not held to its end, so many at a time: first those in no list yet, last those whose
    /// session could not be ended; within them the oldest and the newest by turns, so that neither waits for all others.
    /// Where nothing can be proven, the end of the session is the last link. What has ended by Postgres' clock and by `now`
    /// needs nothing.
    pub async fn open_revocations(
        &mut self,
        issuer: &str,
        provable: bool,
        now: Timestamp,
    ) -> Result<Vec<OpenRevocation>, Outage> {
        let asked = sqlx::query_as(OPEN).bind(issuer).bind(MAX_OPEN).bind(provable).bind(now.to_utc());
        Ok(answer(asked.fetch_all(&mut self.session.connection)).await?)
    }

    /// A number for the next list: higher than any before, and than `above`.
    pub async fn next_number(&mut self, above: u64) -> Result<u64, Outage> {
        let above = i64::try_from(above).map_err(|_| Outage("the last CRL's number is beyond 63 bits".into()))?;
        let asked = sqlx::query_scalar(
            "SELECT setval('crl_numbers', greatest(nextval('crl_numbers'), $1 + 1, crl_number + 1)) FROM crl_state",
        );
        let number: i64 = answer(asked.bind(above).fetch_one(&mut self.session.connection)).await?;
        Ok(number.unsigned_abs())
    }

    /// Keeps a canary that the next list revokes, and forgets those that expired long ago.
    pub async fn add_canary(&mut self, issuer: &str, serial: &str, not_after: Timestamp) -> Result<(), Outage> {
        let asked = sqlx::query(
            "WITH gone AS (DELETE FROM crl_canaries WHERE not_after < now() - interval '90 days') \
             INSERT INTO crl_canaries (issuer, serial_number, not_after) VALUES ($1, $2, $3)",
        );
        let asked = asked.bind(issuer).bind(serial).bind(not_after.to_utc());
        answer(asked.execute(&mut self.session.connection)).await?;
        Ok(())
    }

    /// A list has been published, with these certificates in it.
    pub async fn note_published(&mut self, list: &CrlRow, der: &[u8], certificates: &[Uuid]) -> Result<(), Outage> {
        let asked = sqlx::query(PUBLISHED).bind(&list.issuer).bind(list.crl_number).bind(der);
        let asked = asked.bind(list.entries).bind(list.next_update).bind(certificates);
        answer(asked.execute(&mut self.session.connection)).await?;
        Ok(())
    }

    /// A link of these has held.
    pub async fn note_held(&mut self, link: RevocationStep, certificates: &[Uuid]) -> Result<(), Outage> {
        let column = match link {
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
        answer(sqlx::query(column).bind(certificates).execute(&mut self.session.connection)).await?;
        Ok(())
    }

    /// The broker may have read a list that let the revoked in: their sessions have to be ended once more.
    pub async fn doubt_sessions(&mut self, issuer: &str) -> Result<(), Outage> {
        answer(sqlx::query(DOUBTED).bind(issuer).execute(&mut self.session.connection)).await?;
        Ok(())
    }

    /// A link of these was tried and has not held.
    pub async fn note_failed(&mut self, link: RevocationStep, why: &str, certificates: &[Uuid]) -> Result<(), Outage> {
        let asked = sqlx::query(FAILED).bind(certificates).bind(link.label()).bind(why);
        answer(asked.execute(&mut self.session.connection)).await?;
        Ok(())
    }

    /// What the broker was seen to do with the list; none: nobody can look.
    pub async fn note_enforced(
        &mut self,
        enforced: impl Into<Option<bool>>,
        finding: Option<&str>,
    ) -> Result<(), Outage> {
        let asked = sqlx::query("UPDATE crl_state SET enforced = $1, finding = $2, looked_at = clock_timestamp()");
        answer(asked.bind(enforced.into()).bind(finding).execute(&mut self.session.connection)).await?;
        Ok(())
    }

    /// Asks the publisher for a new list.
    pub async fn request(&mut self) -> Result<(), Outage> {
        let asked = sqlx::query("UPDATE crl_state SET requested_at = clock_timestamp()");
        answer(asked.execute(&mut self.session.connection)).await?;
        Ok(())
    }

    /// Says goodbye, and gives the lock back with it.
    pub async fn close(self) {
        self.session.close().await;
    }
}

// === impl Progress ===

impl RevocationProgress {
    /// When a link held.
    pub const fn held_at(&self, link: RevocationStep) -> Option<DateTime<Utc>> {
        match link {
            RevocationStep::Published => self.published_at,
            RevocationStep::Reloaded => self.reloaded_at,
            RevocationStep::Ended => self.ended_at,
            RevocationStep::Proven => self.proven_at,
        }
    }
}

// === impl Link ===

impl RevocationStep {
    /// All of them, in the order of the chain.
    pub const ALL: [Self; 4] = [Self::Published, Self::Reloaded, Self::Ended, Self::Proven];

    /// The link of that name.
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|link| link.label() == label)
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

fn told<T>(answered: Result<T, sqlx::Error>) -> Result<T, Outage> {
    answered.map_err(|error| StoreError::from(error).into())
}
