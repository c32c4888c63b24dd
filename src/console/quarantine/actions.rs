//! Changes of the quarantine page that are no replay: add the devices that the registry lacks, and
//! discard messages after the person has typed their number.
//!
//! What is discarded is what was counted: the filter has the time of the question as its end.

use askama::Template;
use axum::extract::State;
use chrono::SecondsFormat;
use serde::Deserialize;
use serde_json::{Value, json};

use super::job::order_body;
use super::terms::PATH;
use crate::clock;
use crate::console::filters;
use crate::console::form::{FormFields, PageForm};
use crate::console::frame::{Frame, NavPage, counted, shell_quoted};
use crate::console::notice::{Notice, Redirected};
use crate::console::page::{PageError, WebPage};
use crate::console::query::{PageQuery, segment};
use crate::console::state::ConsoleState;
use crate::console::visit::Visit;
use crate::http::ApiFault;
use crate::http::endpoints::quarantine::Discarded;

/// Devices that one form adds.
const DEVICES_MAX: usize = 50;

/// The question before messages are discarded.
#[derive(Template)]
#[template(path = "quarantine_discard.html")]
pub(crate) struct DiscardPage {
    frame: Frame,
    search: String,
    events: u64,
    back: String,
}

/// The answer to the question.
#[derive(Debug, Deserialize)]
pub(crate) struct DiscardForm {
    search: String,
    events: u64,
    typed: String,
}

/// `POST /console/quarantine/devices`: adds each field `device`, as `<tenant>/<device>`.
pub(crate) async fn add_devices(
    State(console): State<ConsoleState>,
    visit: Visit,
    PageForm(fields): PageForm<FormFields>,
) -> Redirected {
    let field = |name| fields.get(name).unwrap_or_default();
    let back = PageQuery::from([("search", field("search")), ("shown", field("shown"))]).href(PATH);
    let chosen = fields.all("device").take(DEVICES_MAX);
    let (mut added, mut failed) = (0, Vec::new());
    for device in chosen {
        let Some((tenant, device)) = device.split_once('/') else { continue };
        let target = format!("/api/v1/tenants/{}/devices", segment(tenant));
        // A token is made on the page of the device, where it is shown.
        let body = json!({ "device_id": device, "token": false });
        let sent: Result<Value, ApiFault> =
            console.api.send(&visit.person, "POST", &target, Some(&body)).await;
        match sent {
            Ok(_) => added += 1,
            Err(fault) => failed.push(format!("{tenant}/{device}: {}", fault.detail)),
        }
    }
    let done = format!("{} added", counted(added, "device", "devices"));
    let notice = match (added, failed.first()) {
        (0, None) => Notice::warning("Choose at least one device to add"),
        (_, None) => Notice::done(format!("{done}: a dry run says what a replay would store now")),
        (0, Some(why)) => Notice::failed(why.clone()),
        (_, Some(why)) => Notice::warning(format!("{done}; {} not: {why}", failed.len())),
    };
    Redirected::to(back).with(notice)
}

/// `GET /console/quarantine/discard`: how many messages it would be.
pub(crate) async fn ask_discard(
    State(console): State<ConsoleState>,
    visit: Visit,
) -> Result<WebPage<DiscardPage>, PageError> {
    let search = visit.query().get("search").unwrap_or_default();
    let now = clock::now().to_utc().to_rfc3339_opts(SecondsFormat::Micros, true);
    let bounded = format!("{search} until:{now}").trim().to_owned();
    let mut body = order_body(&visit.person, &bounded);
    body["dry_run"] = json!(true);
    let counted: Discarded = send_discard(&console, &visit, &body).await?;
    body["dry_run"] = json!(false);
    let command = format!("quarantine discard --search {} --yes", shell_quoted(&bounded));
    let frame = visit.frame("Discard messages", NavPage::Quarantine).same_by_sending(
        &command,
        "POST",
        "/api/v1/quarantine/discard",
        &body.to_string(),
    );
    let back = PageQuery::from([("search", search), ("shown", "all")]).href(PATH);
    Ok(WebPage(DiscardPage { frame, search: bounded, events: counted.events, back }))
}

/// `POST /console/quarantine/discard`.
pub(crate) async fn discard(
    State(console): State<ConsoleState>,
    visit: Visit,
    PageForm(form): PageForm<DiscardForm>,
) -> Result<Redirected, PageError> {
    let typed: String = form.typed.chars().filter(char::is_ascii_digit).collect();
    if typed != form.events.to_string() {
        let again =
            PageQuery::from([("search", &*form.search)]).href("/console/quarantine/discard");
        let notice = Notice::failed("Nothing was discarded: type the number of messages");
        return Ok(Redirected::to(again).with(notice));
    }
    let body = order_body(&visit.person, &form.search);
    let done = send_discard(&console, &visit, &body).await?;
    let text = format!("{} discarded", counted(done.events, "message", "messages"));
    Ok(Redirected::to(PATH).with(Notice::done(text)))
}

// === impl DiscardPage ===

impl DiscardPage {
    fn counted(&self) -> String {
        counted(self.events, "message", "messages")
    }
}

// === private helpers ===

async fn send_discard(
    console: &ConsoleState,
    visit: &Visit,
    body: &Value,
) -> Result<Discarded, ApiFault> {
    console.api.send(&visit.person, "POST", "/api/v1/quarantine/discard", Some(body)).await
}
