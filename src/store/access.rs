//! Logins of hooks, guest credentials and broker sessions, kept so that a restart and a second replica know them.

pub mod broker_sessions;
pub mod guests;
pub mod logins;
pub mod replicas;
