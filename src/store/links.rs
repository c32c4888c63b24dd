//! Links to other brokers: what waits for them, what they refused, and where a backlog was full.
//!
//! It connects to no other broker and decides about no message. The rows of a batch are written by
//! [`crate::store::batch`], in the transaction of the batch.
//!
//! In reading order: [`outbox`] is what the sender of a link works on, with its [`backlog`] and
//! its [`lanes`] and [`stray_watch`]; [`gap`] reads back what it had no room for, in steps of the size of [`refill_pace`],
//! with payloads as [`rebuilt_payload`] makes them;
//! [`dead_letters`] keeps what a link did not accept, and [`refused`] is its list for people;
//! [`subscribed`] is what its session at the other broker has;
//! [`known`] has the links, their reports and their identities; [`refill_range`] sends a range of
//! `telemetry` again, and [`forget`] deletes what belongs to a link.

pub mod backlog;
pub mod dead_letters;
pub mod forget;
pub mod gap;
pub mod known;
pub mod lanes;
pub mod outbox;
mod queued_rows;
mod rebuilt_payload;
mod refill_pace;
pub mod refill_range;
pub mod refilled_rows;
pub mod refused;
pub mod refused_detail;
mod stray_watch;
mod subscribed;
