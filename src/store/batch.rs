//! The write path: one transaction stores a batch. [`sink`] chooses the path, [`copy`] is the fast one, [`staging`] the one for
//! possible redeliveries, [`single_statement`] the one for small batches; [`bisect`] finds the rows that Postgres refuses.
//!
//! It decides nothing about a message; a failure that is not the data's is returned to the caller, who retries.

pub mod bisect;
pub mod columns;
pub mod commands;
pub mod copy;
pub mod device_state;
pub mod earlier_decisions;
pub mod lost_commit;
pub mod quarantine_rows;
pub mod readings;
pub mod single_statement;
pub mod sink;
mod snapshot;
pub mod staging;
