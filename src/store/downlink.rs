//! What Sluice publishes to devices, as rows: commands with their batches, the desired and
//! reported documents, and notices of certificates that end.
//!
//! It decides nothing; the wing `downlink` does. Triggers give a desired document its version and
//! wake the publisher.

pub mod command_batches;
pub mod command_changes;
pub mod commands;
pub mod notices;
pub mod shadows;
