//! The console as a browser uses it, over plain HTTP: the real daemon and a real Postgres.

mod access;
mod audit;
pub mod browser;
mod certificates;
mod devices;
mod doctor;
mod links;
mod login;
mod overview;
mod people;
mod provider;
mod quarantine;
mod roles;
mod settings;
