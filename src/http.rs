//! The daemon's own HTTP: what operators and their tools ask, and the API by which they govern.
//!
//! It answers from what others keep and passes on what others do; it decides nothing about a message.

mod api;
mod auth;
mod ca;
mod certificates;
mod devices;
mod explain;
mod extract;
mod limits;
mod openapi;
mod ops;
mod page;
mod problem;
mod public;
mod public_caller;
mod public_rate;
mod quarantine;
mod refusals;
mod revocations;
mod route;
mod routes;
mod said;
mod telemetry;
mod tenants;

pub use api::{Api, api_router, serve_api};
pub use auth::FromThisMachine;
pub use ops::{Remembered, serve_ops};
pub use public::{Public, serve_public};
