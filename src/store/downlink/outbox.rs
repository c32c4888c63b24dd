//! The connection of the publisher of messages to devices, and its lock.
//!
//! One replica is the publisher, by an advisory lock that ends with the connection. A publisher that
//! is frozen sends no statement, so Postgres ends its connection after [`IDLE_LIMIT`]. The
//! connection is outside the pool: the publisher takes none from ingest, and finds one while ingest
//! uses all.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::ports::Outage;
use crate::store::connection::database::Database;
use crate::store::connection::writer_connection::{WriterConnection, answer};

/// The advisory lock of the publisher: "sluice" and a number.
const PUBLISHER_LOCK: i64 = 0x736c_7569_6365_000c;

/// Postgres ends the connection of a publisher that sends nothing for this time. By then the broker
/// has ended its connection too, so that it publishes nothing after its successor has begun.
pub(crate) const IDLE_LIMIT: Duration = Duration::from_secs(10);

/// How long a withdrawn document is remembered: a broker that is killed loses what it has not
/// written to its disk, and would deliver the document again. Mosquitto writes at least every half
/// hour, unless it is configured otherwise.
const WITHDRAWN_KEPT: &str = "1 hour";

/// A statement that waits longer for a lock fails. Statements leave out rows that others have
/// locked, so none waits in practice.
const LOCK_LIMIT: Duration = Duration::from_millis(200);

/// Whether a command is open, a document waits, or the broker may have lost one that it retained.
const HAS_WORK: &str = "SELECT \
    EXISTS (SELECT FROM device_commands WHERE status IN ('PENDING', 'PUBLISHED', 'IN_PROGRESS')) \
    OR EXISTS (SELECT FROM device_pushes WHERE dirty_since IS NOT NULL OR payload IS NOT NULL)";

const SUMMARY: &str = "SELECT \
    (SELECT count(*) FROM device_commands WHERE status = 'PENDING'), \
    (SELECT count(*) FROM device_commands WHERE status = 'PUBLISHED'), \
    (SELECT count(*) FROM device_commands WHERE status = 'IN_PROGRESS')";

/// The connection of the publisher, or of a replica that waits to become it.
#[derive(Debug)]
pub struct OutboxSession {
    pub(super) session: WriterConnection,
    is_publisher: bool,
}

/// Commands that are not finished, by status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandCounts {
    /// Not published.
    pub pending: i64,
    /// Published, without an acknowledgement.
    pub published: i64,
    /// The device has begun.
    pub in_progress: i64,
}

/// How long commands are valid and how often they are published.
#[derive(Clone, Copy, Debug)]
pub struct CommandLimits {
    /// Commands of one device that may be published and not finished.
    pub window: u32,
    /// Validity of a command without an end of its own.
    pub ttl: Duration,
    /// Time without an acknowledgement after which a command is published again.
    pub resend: Duration,
    /// Most publications of one command.
    pub attempts: u32,
}

// === impl OutboxSession ===

impl OutboxSession {
    /// Connects, not as publisher.
    pub async fn open(database: &Database) -> Result<Self, Outage> {
        let idle = format!("{}ms", IDLE_LIMIT.as_millis());
        let lock = format!("{}ms", LOCK_LIMIT.as_millis());
        let limits = [("idle_session_timeout", idle), ("lock_timeout", lock)];
        let options = database.bounded_options().clone().options(limits);
        let session = WriterConnection::open(&options).await?;
        Ok(Self { session, is_publisher: false })
    }

    /// Tries to become the publisher; returns whether this is the publisher.
    pub async fn claim(&mut self) -> Result<bool, Outage> {
        if !self.is_publisher {
            let query = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(PUBLISHER_LOCK);
            self.is_publisher = answer(query.fetch_one(&mut self.session.connection)).await?;
        }
        Ok(self.is_publisher)
    }

    /// Postgres' clock.
    pub async fn now(&mut self) -> Result<DateTime<Utc>, Outage> {
        let query = sqlx::query_scalar("SELECT clock_timestamp()");
        Ok(answer(query.fetch_one(&mut self.session.connection)).await?)
    }

    /// The marker of this database.
    pub async fn marker(&mut self) -> Result<Uuid, Outage> {
        let query = sqlx::query_scalar("SELECT marker FROM outbox_marker");
        Ok(answer(query.fetch_one(&mut self.session.connection)).await?)
    }

    /// Whether a connection to the broker is needed.
    pub async fn has_work(&mut self) -> Result<bool, Outage> {
        let query = sqlx::query_scalar(HAS_WORK);
        Ok(answer(query.fetch_one(&mut self.session.connection)).await?)
    }

    /// Counts the commands that are not finished.
    pub async fn open_commands(&mut self) -> Result<CommandCounts, Outage> {
        let query = sqlx::query_as(SUMMARY);
        let (pending, published, in_progress) =
            answer(query.fetch_one(&mut self.session.connection)).await?;
        Ok(CommandCounts { pending, published, in_progress })
    }

    /// Removes the rows of documents that were withdrawn [`WITHDRAWN_KEPT`] ago.
    pub async fn forget_withdrawn(&mut self) -> Result<(), Outage> {
        let statement = "DELETE FROM device_pushes WHERE ctid = ANY (ARRAY ( \
            SELECT ctid FROM device_pushes WHERE payload IS NULL AND dirty_since IS NULL \
            AND published_at < now() - $1::text::interval FOR UPDATE SKIP LOCKED))";
        let query = sqlx::query(statement).bind(WITHDRAWN_KEPT);
        answer(query.execute(&mut self.session.connection)).await?;
        Ok(())
    }
}
