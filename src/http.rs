//! The daemon's own HTTP: what operators and their tools ask, the API by which they govern, and what the
//! broker asks before it lets anybody in.
//!
//! It answers from what others keep and passes on what others do; it decides nothing about a message.

mod api;
pub mod endpoints;
mod hooks;
pub mod listener;
mod ops;
pub mod ops_client;
mod public;

pub use api::auth::FromThisMachine;
pub use api::state::Api;
pub use api::{api_router, serve_api};
pub use hooks::{Hooks, serve_hooks};
pub use ops::{Remembered, serve_ops};
pub use public::{PublicApi, serve_public};
