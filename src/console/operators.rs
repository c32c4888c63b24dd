//! `/console/operators`: who may use the console and the API by name, and who is signed in.
//!
//! A new token is on the page that answers the form, and nowhere else: it is not in an address and
//! not in a cookie.

use askama::Template;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::filters;
use super::form::PageForm;
use super::frame::Frame;
use super::list::{Pager, ROWS};
use super::navigation::NavPage;
use super::notice::{Notice, Redirected};
use super::page::{PageError, WebPage};
use super::query::segment;
use super::state::ConsoleState;
use super::visit::Visit;
use crate::http::views::operators::{OperatorView, OperatorWithTokenView, SessionView};
use crate::http::{PageApi, PageOf};

const PATH: &str = "/console/operators";
const API: &str = "/api/v1/operators";

/// The page.
#[derive(Template)]
#[template(path = "operators.html")]
pub(crate) struct OperatorsPage {
    frame: Frame,
    operators: Vec<OperatorView>,
    pager: Pager,
    sessions: Vec<SessionView>,
    has_more_sessions: bool,
    /// The operator whose token was made by this request.
    made: Option<OperatorWithTokenView>,
}

/// The form of a new operator, and of a new role.
#[derive(Debug, Deserialize)]
pub(crate) struct GrantForm {
    #[serde(default)]
    name: String,
    role: String,
    #[serde(default)]
    tenant: String,
}

/// The pages.
pub(super) fn routes() -> Router<ConsoleState> {
    Router::new()
        .route(PATH, get(show).post(add))
        .route("/console/operators/{operator}/role", post(change))
        .route("/console/operators/{operator}/token", post(make_token))
        .route("/console/operators/{operator}/remove", post(remove))
        .route("/console/sessions/{session}/end", post(end_session))
}

// === private helpers ===

async fn show(
    State(console): State<ConsoleState>,
    visit: Visit,
) -> Result<WebPage<OperatorsPage>, PageError> {
    page(&console.api, &visit, None).await
}

async fn add(
    State(console): State<ConsoleState>,
    visit: Visit,
    PageForm(form): PageForm<GrantForm>,
) -> Result<WebPage<OperatorsPage>, PageError> {
    let made = console.api.send(&visit.person, "POST", API, Some(&form.body(true))).await?;
    page(&console.api, &visit, Some(made)).await
}

async fn make_token(
    State(console): State<ConsoleState>,
    visit: Visit,
    Path(operator): Path<String>,
) -> Result<WebPage<OperatorsPage>, PageError> {
    let target = format!("{}/token", target(&operator));
    let made = console.api.send(&visit.person, "POST", &target, None::<&Value>).await?;
    page(&console.api, &visit, Some(made)).await
}

async fn change(
    State(console): State<ConsoleState>,
    visit: Visit,
    Path(operator): Path<String>,
    PageForm(form): PageForm<GrantForm>,
) -> Result<Redirected, PageError> {
    let body = form.body(false);
    let changed: OperatorView =
        console.api.send(&visit.person, "PATCH", &target(&operator), Some(&body)).await?;
    let text = format!("{} is {} now; the operator's sessions ended", changed.name, changed.role);
    Ok(Redirected::to(PATH).with(Notice::done(text)))
}

async fn remove(
    State(console): State<ConsoleState>,
    visit: Visit,
    Path(operator): Path<String>,
) -> Result<Redirected, PageError> {
    let _removed: Value =
        console.api.send(&visit.person, "DELETE", &target(&operator), None::<&Value>).await?;
    let text = format!("{operator} is removed; the token and the sessions ended");
    Ok(Redirected::to(PATH).with(Notice::done(text)))
}

async fn end_session(
    State(console): State<ConsoleState>,
    visit: Visit,
    Path(session): Path<String>,
) -> Result<Redirected, PageError> {
    let target = format!("/api/v1/sessions/{}", segment(&session));
    let _ended: Value = console.api.send(&visit.person, "DELETE", &target, None::<&Value>).await?;
    Ok(Redirected::to(PATH).with(Notice::done("the session ended")))
}

async fn page(
    api: &PageApi,
    visit: &Visit,
    made: Option<OperatorWithTokenView>,
) -> Result<WebPage<OperatorsPage>, PageError> {
    let limit = ROWS.to_string();
    let list = visit.query().only(&["cursor"]).with("limit", &limit).href(API);
    let (operators, sessions) = tokio::join!(
        api.get::<PageOf<OperatorView>>(&visit.person, &list),
        api.get::<PageOf<SessionView>>(&visit.person, "/api/v1/sessions?limit=50"),
    );
    let (operators, sessions) = (operators?, sessions?);
    let pager = Pager::new(PATH, visit.query(), operators.items.len(), operators.next.as_deref());
    let frame = visit
        .frame("Operators", NavPage::Operators)
        .same_by("operator list", "GET", &list)
        .same_by("", "GET", "/api/v1/sessions?limit=50");
    Ok(WebPage(OperatorsPage {
        frame,
        operators: operators.items,
        pager: pager.labelled("Next"),
        sessions: sessions.items,
        has_more_sessions: sessions.next.is_some(),
        made,
    }))
}

fn target(operator: &str) -> String {
    format!("{API}/{}", segment(operator))
}

// === impl GrantForm ===

impl GrantForm {
    fn body(&self, is_new: bool) -> Value {
        let mut body = json!({ "role": self.role });
        if is_new {
            body["name"] = self.name.trim().into();
        }
        if !self.tenant.trim().is_empty() {
            body["tenant"] = self.tenant.trim().into();
        }
        body
    }
}
