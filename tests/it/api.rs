//! The HTTP API, asked over a socket as a stranger's program would: the real daemon and a real Postgres.

pub mod client;
mod document;
mod door;
mod governed;
mod quarantined;
mod stored;
