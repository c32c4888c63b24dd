//! What Sluice publishes to devices: commands, desired documents, notices and errors.
//!
//! The truth is in Postgres; the broker gets a copy. This wing decides what is sent, queued and
//! cancelled, and one publisher at a time sends it, on a connection of its own.
