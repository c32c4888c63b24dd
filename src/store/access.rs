//! Rows of access at the broker, which a restart and the other replicas read.
//!
//! It grants nothing. [`logins`] stores broker logins, [`guests`] guest credentials,
//! [`broker_sessions`] the subscriptions of the daemon's own session, [`replicas`] the names of the
//! replicas on one broker, [`replica_sessions`] their sessions.

pub mod broker_sessions;
pub mod guests;
pub(crate) mod logins;
pub(crate) mod replica_sessions;
pub(crate) mod replicas;
