//! The console: pages for a browser, below `/console`.
//!
//! Every page is HTML made in this process, and its address is its state. Its data comes from routes
//! of the API ([`crate::http::PageApi`]), which check what the person may see and change. It holds no
//! rule about messages, devices or certificates, and no SQL.
//!
//! A page is added in five steps:
//! 1. a file `src/console/<page>.rs` with `pub(crate) fn routes() -> Router<ConsoleState>` (of
//!    `super::state`), its paths whole (`/console/devices`), merged in [`pages`];
//! 2. a handler `async fn list(State(console): State<ConsoleState>, visit: Visit) ->
//!    Result<WebPage<ListPage>, PageError>` that calls `console.api.get(&visit.person, target)`;
//! 3. a template `templates/<page>.html` that extends `layout.html`, imports `parts/ui.html`, and
//!    belongs to a struct with a field `frame: Frame` from [`visit::Visit::frame`], with
//!    `.same_by(command, method, target)` for each call;
//! 4. actions as `POST /console/...` forms with the field `csrf`, answered by
//!    [`notice::Redirected`] with a [`notice::Notice`]; the entry in [`navigation`];
//! 5. a test over plain HTTP below `tests/it/console`.
//!
//! [`guard`] lets only people with a session reach a page, [`login`] signs them in and out, and
//! [`headers`] tells the browser what a page may do.
//!
//! Read it in this order: [`state`], [`visit`] (who, where), [`navigation`], [`frame`] and [`notice`]
//! (around a page), [`page`] (the answer, and errors), [`form`], [`query`], [`list`] and [`csv`] (what
//! lists share), [`filters`] and [`markup`] (values in templates), [`svg`] (charts), [`keys`],
//! [`preferences`] and [`choose`], [`assets`]; then the pages.

mod access;
mod assets;
mod audit;
mod authority;
mod cells;
mod certificates;
mod choose;
pub(crate) mod csv;
mod device;
pub(crate) mod device_address;
pub(crate) mod devices;
mod doctor;
pub(crate) mod filters;
pub(crate) mod form;
pub(crate) mod frame;
mod guard;
mod headers;
mod jump;
pub(crate) mod keys;
mod links;
pub(crate) mod list;
mod live;
pub(crate) mod login;
pub(crate) mod markup;
mod navigation;
pub(crate) mod notice;
mod operators;
mod overview;
mod overview_cache;
mod overview_part;
pub(crate) mod page;
mod preferences;
pub(crate) mod quarantine;
pub(crate) mod query;
mod settings;
pub(crate) mod state;
pub(crate) mod svg;
pub(crate) mod visit;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Redirect;
use axum::routing::{get, post};

use crate::http::{PageApi, page_router};
pub use keys::console_keys_table;
use page::{PageError, frame_errors};
use state::ConsoleState;

/// The router of all pages.
pub fn console_router(api: &PageApi) -> Router {
    let console = ConsoleState::new(api);
    let guarded = pages().layer(from_fn_with_state(console.clone(), guard::require_person));
    let pages = guarded
        .merge(login::routes())
        .layer(from_fn(frame_errors))
        .route("/console/assets/{hash}/{name}", get(assets::serve))
        // Who types the address alone wants the console.
        .route("/", get(|| async { Redirect::to("/console") }));
    page_router(pages.with_state(console)).layer(from_fn(headers::add))
}

/// The pages, one line each.
fn pages() -> Router<ConsoleState> {
    Router::new()
        .merge(devices::routes())
        .merge(device::routes())
        .merge(quarantine::routes())
        .route("/console/logout", post(login::token::sign_out))
        .merge(overview::routes())
        .merge(jump::routes())
        .merge(certificates::routes())
        .merge(authority::routes())
        .merge(cells::routes())
        .merge(access::routes())
        .merge(live::routes())
        .merge(doctor::routes())
        .merge(links::routes())
        .merge(settings::routes())
        .merge(operators::routes())
        .merge(audit::routes())
        .route("/console/preferences", post(choose::save))
        .route("/console/{*rest}", get(no_such_page))
}

async fn no_such_page(_: visit::Visit) -> PageError {
    PageError::not_found("the console has no page at this address").or("Overview", "/console")
}
