//! The daemon's own HTTP: what operators and their tools ask, the API by which they govern, and what the
//! broker asks before it lets anybody in.
//!
//! It answers from what others keep and passes on what others do; it decides nothing about a message.

mod api;
mod auth;
mod browser;
mod ca;
mod certificates;
mod devices;
mod drain;
mod explain;
mod extract;
mod hook_question;
mod hooks;
mod limits;
mod openapi;
mod ops;
mod page;
mod places;
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
pub use hooks::{Hooks, serve_hooks};
pub use ops::{Remembered, serve_ops};
pub use public::{Public, serve_public};
