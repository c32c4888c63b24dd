//! What Sluice publishes to devices: commands, desired documents, notices and errors.
//!
//! The truth is in Postgres; the broker gets a copy. This wing decides what is sent, queued and
//! cancelled, and one publisher at a time sends it, on a connection of its own.
//!
//! [`commands`] queues, shows and cancels commands, [`batches`] the commands of many devices;
//! [`shadow`] shows and changes documents, and [`document`] says what a document may be. [`outbox`]
//! publishes all of them. [`device_errors`] alone is not in Postgres: it says to a device why its
//! message was refused.

pub mod batches;
pub mod commands;
pub(crate) mod device_errors;
pub mod document;
pub mod outbox;
pub mod shadow;

use crate::config::sections::downlink::DownlinkConfig;
use crate::domain::time::Timestamp;
use crate::store::connection::database::Database;
use crate::store::registry::audit::Actor;

/// What every decision needs: the database, the actor for the audit log, the time, the settings.
#[derive(Clone, Copy, Debug)]
pub struct DownlinkContext<'a> {
    /// The database.
    pub database: &'a Database,
    /// The actor recorded in the audit log.
    pub actor: &'a Actor,
    /// The time at which the decision is made.
    pub now: Timestamp,
    /// The settings of what Sluice publishes to devices.
    pub settings: &'a DownlinkConfig,
}
