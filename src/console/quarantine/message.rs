//! `/console/quarantine/{id}`: one refused message, check by check, its payload, and what would happen
//! now.
//!
//! It shows whether a token was sent, never the token.

use askama::Template;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::fixes::{ReasonFix, fix_of, page_of};
use super::payload::{PayloadForm, ShownPayload};
use super::terms::{PATH, QuarantineTerms};
use crate::console::device_address::device_path;
use crate::console::filters;
use crate::console::form::PageForm;
use crate::console::frame::{Frame, NavPage};
use crate::console::notice::{Notice, Redirected};
use crate::console::page::{PageError, WebPage};
use crate::console::query::{PageQuery, segment};
use crate::console::state::ConsoleState;
use crate::console::visit::Visit;
use crate::domain::caller::CallerRole;
use crate::domain::refusal::Reason;
use crate::domain::time::Timestamp;
use crate::http::endpoints::explain::{CheckMade, Explained};
use crate::http::endpoints::quarantine::{Discarded, Neighbours, RefusedMessage, Replay};
use crate::http::{ApiFault, SignedIn};
use crate::store::quarantine::cursor::QuarantineCursor;

/// Characters of an identifier that are typed before the message is discarded.
const TYPED: usize = 8;

/// The page.
#[derive(Template)]
#[template(path = "message.html")]
pub(crate) struct MessagePage {
    frame: Frame,
    message: RefusedMessage,
    /// What would happen now; `None`: the person may not ask.
    explained: Option<Explained>,
    fix: Option<ReasonFix>,
    /// Label and address of the page where the fix is made.
    fix_page: Option<(String, String)>,
    payload: Option<ShownPayload>,
    /// Label and address of each form of the payload.
    tabs: Vec<(String, String)>,
    /// The address that shows the whole payload.
    whole_href: String,
    newer: Option<String>,
    older: Option<String>,
    back: String,
    device_href: Option<String>,
}

/// What the form of a discard sends.
#[derive(Debug, Deserialize)]
pub(crate) struct TypedForm {
    typed: String,
}

/// `GET /console/quarantine/{id}`.
pub(crate) async fn show(
    State(console): State<ConsoleState>,
    visit: Visit,
    Path(id): Path<String>,
) -> Result<WebPage<MessagePage>, PageError> {
    let person = &visit.person;
    let target = format!("/api/v1/quarantine/{}", segment(&id));
    let explain_target = format!("{target}/explain");
    let may_explain = person.role >= CallerRole::Operator;
    let explain = async {
        if !may_explain {
            return Ok(None);
        }
        console.api.get::<Explained>(person, &explain_target).await.map(Some)
    };
    let (message, explained) =
        tokio::join!(console.api.get::<RefusedMessage>(person, &target), explain);
    let gone = |fault: ApiFault| PageError::from(fault).or("Quarantine", PATH);
    let (message, explained) = (message.map_err(gone)?, explained.map_err(gone)?);
    let terms = QuarantineTerms::of(visit.query());
    let neighbours = neighbours(&console, person, &terms, &message).await;
    let state = terms.own_query();
    let href = |id: &str| state.href(&format!("{PATH}/{id}"));
    let form = PayloadForm::from_name(visit.query().get("view"));
    let is_whole = visit.query().get("whole").is_some();
    let own = format!("{PATH}/{}", message.summary.id);
    let tab =
        |form: PayloadForm| (form.label().to_owned(), state.with("view", form.name()).href(&own));
    let event = &message.summary;
    let fix = Reason::from_label(&event.reason).map(fix_of);
    let (tenant, device) = (event.tenant_id.as_deref(), event.device_id.as_deref());
    let frame = visit
        .frame(format!("Message {}", &event.id.to_string()[..TYPED]), NavPage::Quarantine)
        .same_by(&format!("quarantine show {}", event.id), "GET", &target);
    let frame = if frame.may_operate() {
        let frame = frame.same_by("", "GET", &explain_target);
        let body = replay_body(person, &event.id.to_string()).to_string();
        let command = format!("quarantine replay {}", event.id);
        frame.same_by_sending(&command, "POST", "/api/v1/quarantine/replay", &body)
    } else {
        frame
    };
    Ok(WebPage(MessagePage {
        payload: ShownPayload::of(&message, form, is_whole),
        tabs: PayloadForm::ALL.map(tab).to_vec(),
        whole_href: state.with("view", form.name()).with("whole", "1").href(&own),
        newer: neighbours.newer.map(|id| href(&id.to_string())),
        older: neighbours.older.map(|id| href(&id.to_string())),
        back: state.href(PATH),
        device_href: tenant.zip(device).map(|(tenant, device)| device_path(tenant, device)),
        fix_page: fix.and_then(|fix| page_of(fix.place, tenant, device)),
        fix,
        frame,
        message,
        explained,
    }))
}

/// `POST /console/quarantine/{id}/replay`.
pub(crate) async fn replay(
    State(console): State<ConsoleState>,
    visit: Visit,
    Path(id): Path<String>,
) -> Redirected {
    let body = replay_body(&visit.person, &id);
    let sent: Result<Replay, ApiFault> =
        console.api.send(&visit.person, "POST", "/api/v1/quarantine/replay", Some(&body)).await;
    let notice = match sent {
        Err(fault) => Notice::failed(fault.detail),
        Ok(replay) => match replay.items.first() {
            None => Notice::failed("The message is not in quarantine any longer"),
            Some(item) => match (&item.reason, &item.detail) {
                (Some(reason), Some(detail)) => {
                    Notice::failed(format!("Refused again: {reason}: {detail}"))
                }
                _ => Notice::done(format!("The message: {}", item.result)),
            },
        },
    };
    Redirected::to(format!("{PATH}/{}", segment(&id))).with(notice)
}

/// `POST /console/quarantine/{id}/discard`.
pub(crate) async fn discard(
    State(console): State<ConsoleState>,
    visit: Visit,
    Path(id): Path<String>,
    PageForm(form): PageForm<TypedForm>,
) -> Result<Redirected, PageError> {
    let page = format!("{PATH}/{}", segment(&id));
    if form.typed.trim() != id.chars().take(TYPED).collect::<String>() {
        let notice = Notice::failed("Nothing was discarded: type the beginning of the identifier");
        return Ok(Redirected::to(page).with(notice));
    }
    let target = format!("/api/v1/quarantine/{}", segment(&id));
    let _done: Discarded =
        console.api.send(&visit.person, "DELETE", &target, None::<&Value>).await?;
    Ok(Redirected::to(PATH).with(Notice::done("1 message discarded")))
}

// === impl MessagePage ===

impl MessagePage {
    /// What is typed before the message is discarded.
    fn typed(&self) -> String {
        self.message.summary.id.to_string()[..TYPED].to_owned()
    }

    fn discard_href(&self) -> String {
        format!("{PATH}/{}/discard", self.message.summary.id)
    }

    /// The sender as `<tenant>/<device>`.
    fn sender(&self) -> Option<String> {
        let event = &self.message.summary;
        let (tenant, device) = event.tenant_id.as_ref().zip(event.device_id.as_ref())?;
        Some(format!("{tenant}/{device}"))
    }

    /// Class, icon and word of a check.
    #[expect(clippy::unused_self, reason = "the template calls it on the page")]
    fn verdict(&self, check: &CheckMade) -> (&'static str, &'static str) {
        match &*check.verdict {
            "passed" => ("ok", "check"),
            "refused" => ("bad", "cross"),
            _ => ("muted", "off"),
        }
    }

    fn open_tab(&self) -> &'static str {
        self.payload.as_ref().map_or("", |payload| payload.form.label())
    }
}

// === private helpers ===

/// The messages before and after this one; none if they cannot be read.
async fn neighbours(
    console: &ConsoleState,
    person: &SignedIn,
    terms: &QuarantineTerms,
    message: &RefusedMessage,
) -> Neighbours {
    let event = &message.summary;
    let place = QuarantineCursor { at: Timestamp::from(event.quarantined_at), id: event.id };
    let (search, place) = (terms.effective(), place.to_string());
    let target = PageQuery::from([("search", &*search), ("cursor", &*place)])
        .href("/api/v1/quarantine/neighbours");
    console.api.get(person, &target).await.unwrap_or_default()
}

/// The body of a call about one message.
fn replay_body(person: &SignedIn, id: &str) -> Value {
    let mut body = Map::new();
    body.insert("ids".to_owned(), json!([id]));
    if let Some(tenant) = &person.tenant {
        body.insert("tenant".to_owned(), json!(tenant.as_str()));
    }
    Value::Object(body)
}
