//! The console as a browser uses it, over plain HTTP: the real daemon and a real Postgres.

mod audit;
pub mod browser;
mod certificates;
mod devices;
mod login;
mod overview;
mod people;
mod provider;
mod quarantine;
mod roles;
