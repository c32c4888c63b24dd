//! The narrow doors between the spine and the wings: who is this, keep these, it is kept.
//!
//! The spine runs on these alone, so tests can run it on a `Vec`.

use std::future::Future;

use super::batch::{Batch, Receipt};
use super::broker_login::BrokerLogin;
use super::device::{RegistryAnswer, TokenHash};
use super::ids::DeviceKey;
use super::message::AckToken;
use super::time::Timestamp;

/// The dependency did not do it, through no fault of the data: try again, lose nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Outage(pub String);

/// A device to register because it spoke (`AUTO_PROVISION`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newcomer {
    /// Who it says it is; the broker's access control is what vouches for it.
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

/// Who is this?
pub trait Directory: Send + Sync + 'static {
    /// Looks all of them up in one query; the answers stand in the order of the questions.
    fn find(&self, keys: &[DeviceKey]) -> impl Future<Output = Result<Vec<RegistryAnswer>, Outage>> + Send;

    /// Registers all of them in one statement; those that exist by now are left as they are.
    fn enroll(&self, newcomers: &[Newcomer]) -> impl Future<Output = Result<(), Outage>> + Send;
}

/// Keep these.
pub trait Sink: Send + 'static {
    /// Stores the whole batch in one transaction. Rows the database refuses for what they hold are moved to
    /// `batch.quarantined` and stored there in the same transaction. `Err` means that it is not known to be stored: the same
    /// batch is given again, and what of it is there already is not stored twice.
    fn commit(&mut self, batch: &mut Batch) -> impl Future<Output = Result<Receipt, Outage>> + Send;
}

/// It is kept.
pub trait Acknowledge: Send + Sync + 'static {
    /// Acknowledges in the order given. Tokens of a connection that has ended are void and dropped.
    fn acknowledge(&self, tokens: Vec<AckToken>) -> impl Future<Output = ()> + Send;
}

/// Which daemons are there?
pub trait Roster: Send + Sync + 'static {
    /// All that have ever run on this database and were not removed from it, this one included.
    fn replicas(&self) -> impl Future<Output = Result<Vec<Replica>, Outage>> + Send;
}

/// Remember these logins, past the end of the process and for every replica.
pub trait Logbook: Send + Sync + 'static {
    /// Keeps all of them; of two under the same names the later one stays.
    fn keep(&self, logins: &[BrokerLogin]) -> impl Future<Output = Result<(), Outage>> + Send;

    /// The login under these names, also one that has ended and is still there.
    fn find(&self, username: &str, client_id: &str)
    -> impl Future<Output = Result<Option<BrokerLogin>, Outage>> + Send;

    /// Forgets those that ended before this moment; says how many.
    fn purge(&self, before: Timestamp) -> impl Future<Output = Result<u64, Outage>> + Send;
}
