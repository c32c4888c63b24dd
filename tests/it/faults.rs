//! What may break while messages flow: the daemon, the broker, Postgres, and the connections
//! between them. In each test the publishers number their messages, and in the end every message
//! the broker took over is stored exactly once.

mod broker_ends;
mod connection_to_broker;
mod connection_to_postgres;
mod dark_path;
mod first_start;
pub mod load;
pub mod lock;
mod postgres_ends;
mod postgres_refuses;
mod repeated_decisions;
mod sluice_killed;
