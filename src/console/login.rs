//! Signs a person in and out: by a token ([`token`]), by a one-time link ([`link`]), or by an identity
//! provider ([`provider`]).
//!
//! After a login the browser gets a new cookie and returns to the page that it wanted ([`answers`]).

mod answers;
mod link;
mod provider;
pub(crate) mod token;

use axum::Router;
use axum::routing::get;

use super::state::ConsoleState;
use super::visit::LOGIN;

/// The pages that everyone reaches.
pub(super) fn routes() -> Router<ConsoleState> {
    Router::new()
        .route(LOGIN, get(token::show).post(token::sign_in))
        .route("/console/login/provider", get(provider::begin))
        .route("/console/login/return", get(provider::finish))
        .route("/console/link", get(link::show).post(link::sign_in))
}
