//! The console as a browser uses it: the real daemon and a real Postgres. Most tests send plain HTTP; those named
//! `chromium_` use a real browser, and `scripts/test` runs them as a step of their own.

mod access;
mod audit;
pub mod browser;
mod certificates;
mod chromium_away;
mod chromium_hostile;
mod chromium_pages;
mod chromium_tasks;
mod devices;
mod doctor;
mod fleet;
mod links;
mod live;
mod live_page;
mod live_stream;
mod login;
mod operators;
mod overview;
mod people;
mod person;
mod provider;
mod quarantine;
mod registering;
mod roles;
mod settings;
mod tail;
