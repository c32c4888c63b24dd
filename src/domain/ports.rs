//! Traits between the spine and the other wings.
//!
//! The spine uses only these, so tests can run it on a `Vec`.

use std::future::Future;

use super::batch::{Batch, Receipt};
use super::broker_login::BrokerLogin;
use super::device::RegistryAnswer;
use super::ids::DeviceKey;
use super::link::Forward;
use super::message::AckToken;
use super::time::Timestamp;
use super::token::TokenHash;

/// A dependency failed and the data is not the cause: retry, and lose nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Outage(pub String);

impl Outage {
    /// The beginning of the sentence with which a cell refuses to change its copy of the registry.
    const READ_ONLY: &str = "the registry is read-only in cell ";

    /// Whether nothing is broken: the change belongs to the registry, and this database is a cell. A
    /// retry cannot help.
    pub fn is_of_a_cell(&self) -> bool {
        self.0.starts_with(Self::READ_ONLY)
    }
}

/// A device to register because of its message (`AUTO_PROVISION`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newcomer {
    /// Identity from the topic; the broker's access control guarantees it.
    pub key: DeviceKey,
    /// The site it names.
    pub site: Option<Box<str>>,
    /// The hash of the token it carries: from now on it is the device's.
    pub token: Option<TokenHash>,
}

/// A daemon that shares the broker with this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Its client id at the broker.
    pub client_id: Box<str>,
    /// Its user name there, where it has one.
    pub username: Option<Box<str>>,
}

/// Looks up and registers devices.
pub trait Directory: Send + Sync + 'static {
    /// Looks up all `devices` in one query; the answers are in the same order.
    fn find(
        &self,
        keys: &[DeviceKey],
    ) -> impl Future<Output = Result<Vec<RegistryAnswer>, Outage>> + Send;

    /// Registers all in one statement; existing devices stay unchanged.
    fn enroll(&self, newcomers: &[Newcomer]) -> impl Future<Output = Result<(), Outage>> + Send;
}

/// Stores batches.
pub trait Sink: Send + 'static {
    /// Stores the whole batch in one transaction. Rows whose content the database refuses are moved
    /// to `batch.quarantined` and stored in the same transaction. `Err` means that the outcome is
    /// unknown or a failure: the caller retries with the same batch, and rows that exist are not
    /// stored twice.
    fn commit(&mut self, batch: &mut Batch)
    -> impl Future<Output = Result<Receipt, Outage>> + Send;
}

/// Acknowledges messages after their commit.
pub trait Acknowledge: Send + Sync + 'static {
    /// Acknowledges in the order given. Tokens of a connection that has ended are void and dropped.
    fn acknowledge(&self, tokens: Vec<AckToken>) -> impl Future<Output = ()> + Send;
}

/// Learns which messages were refused, after the commit.
pub trait RefusalReporter: Send + 'static {
    /// Takes note of `batch.refused`. It does not wait, and nothing depends on what becomes of it.
    fn report(&mut self, batch: &Batch);
}

/// Wakes the senders of links in this process, after the commit.
pub trait ForwardSignal: Send + 'static {
    /// These messages may wait in the outbox now. It does not wait: a sender that is not woken finds
    /// them at its next look.
    fn queued(&mut self, forwards: &[Forward]);
}

/// Lists the daemons of this database.
pub trait Roster: Send + Sync + 'static {
    /// All that have run on this database and were not removed from it, this one included.
    fn replicas(&self) -> impl Future<Output = Result<Vec<Replica>, Outage>> + Send;
}

/// Stores logins for all replicas and across restarts.
pub trait Logbook: Send + Sync + 'static {
    /// Stores all of them; for the same names the later one is kept.
    fn keep(&self, logins: &[BrokerLogin]) -> impl Future<Output = Result<(), Outage>> + Send;

    /// Finds the login with these names, even if it has ended.
    fn find(
        &self,
        username: &str,
        client_id: &str,
    ) -> impl Future<Output = Result<Option<BrokerLogin>, Outage>> + Send;

    /// Deletes logins that ended before this time; returns their number.
    fn purge(&self, before: Timestamp) -> impl Future<Output = Result<u64, Outage>> + Send;
}
