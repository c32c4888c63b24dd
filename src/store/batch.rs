//! The write path: one transaction stores a batch.
//!
//! It decides nothing about a message. It returns an outage to the caller, which retries.
//!
//! Read it in this order:
//! 1. [`sink`] chooses the path and commits.
//! 2. [`earlier_decisions`] finds what was decided about a redelivered message; [`event_ids`] finds
//!    the events of links that are stored.
//! 3. [`accepted_rows`] writes the rows of accepted messages. [`readings`] copies telemetry rows
//!    (fast path); [`staging`] skips rows that exist (safe path).
//! 4. [`device_state`], [`commands`] and [`quarantine_rows`] write the other rows of a batch,
//!    [`forward_rows`] what links forward of it; [`roomy_link`] is the short way of one link.
//! 5. [`single_statement`] writes a small batch at once; [`columns`] encodes its parameters.
//! 6. [`bisect`] isolates the rows that Postgres refuses.
//! 7. [`last_attempt`] is what a failed attempt left open; [`lost_commit`] finds out whether an
//!    unanswered COMMIT took effect; [`snapshot`] restores a batch after a rollback.

pub(crate) mod accepted_rows;
pub(crate) mod bisect;
pub(crate) mod columns;
pub(crate) mod commands;
pub(crate) mod device_state;
pub(crate) mod earlier_decisions;
mod event_ids;
pub(crate) mod forward_rows;
mod last_attempt;
pub(crate) mod lost_commit;
pub(crate) mod quarantine_rows;
pub(crate) mod readings;
mod roomy_link;
pub(crate) mod single_statement;
pub mod sink;
mod snapshot;
pub(crate) mod staging;
