//! Access decisions: which subject sends a request of the broker, and whether the policy allows it.
//!
//! Read it in this order:
//!
//! 1. [`hooks`] authenticates the sender of one request and answers it;
//! 2. [`tokens`] verifies the JSON Web Tokens that some senders present;
//! 3. [`oidc`] signs people in at the console by an identity provider;
//! 4. [`policy`] decides what the authenticated subject may do with a topic;
//! 5. [`go_auth`] reads the configuration of mosquitto-go-auth, for those who move.
//!
//! It reads no HTTP and sends no SQL: [`crate::http`] carries the requests and the answers, and
//! callers pass the lookups in.

pub(crate) mod go_auth;
pub mod hooks;
pub(crate) mod oidc;
pub(crate) mod policy;
pub mod record;
pub mod tokens;
