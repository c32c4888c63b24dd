//! The HTTP API over a socket, as a foreign program uses it: the real daemon and a real
//! Postgres.

mod answers;
mod certified;
pub mod client;
mod commanded;
mod document;
mod door;
mod facets;
mod foreign;
mod governed;
mod inventoried;
pub mod linked;
mod quarantined;
mod refusals;
mod replays;
mod revoked;
mod searched;
mod shadowed;
mod stored;
mod troubled;
pub mod with_authority;
