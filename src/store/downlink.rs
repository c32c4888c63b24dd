//! What Sluice publishes to devices, as rows: commands with their batches, the desired and reported
//! documents, notices of certificates that end, and the work of the publisher.
//!
//! It decides nothing; the wing `downlink` does. Triggers give a desired document its version and
//! wake the publisher, which has [`outbox`] as its own connection, [`command_queue`] and [`pushes`]
//! as its two kinds of rows, and [`outbox_signal`] to be woken.

pub mod command_batches;
pub mod command_changes;
pub mod command_queue;
pub mod commands;
pub mod notices;
pub mod outbox;
pub mod outbox_signal;
pub mod pushes;
pub mod shadows;
pub(crate) mod stored_json;
