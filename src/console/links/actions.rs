//! What a person does with a link: retry or discard dead letters, refill a period, forget a link
//! that is gone. Each answers with the page of the link and what was done.
//!
//! A dry run counts only. The API checks the role.

use axum::extract::{Path, State};
use serde_json::{Map, Value, json};

use super::one::FILTERS;
use super::words::{PATH, href, target};
use crate::console::form::{FormFields, PageForm};
use crate::console::frame::counted;
use crate::console::notice::{Notice, Redirected};
use crate::console::page::PageError;
use crate::console::query::{PageQuery, segment};
use crate::console::state::ConsoleState;
use crate::console::visit::Visit;
use crate::http::{ApiFault, DiscardedLetters, ForgottenLink, QueuedAgain, RefilledPeriod};

/// Queues dead letters again: one (`id`), or those of the filter.
pub(super) async fn retry(
    State(console): State<ConsoleState>,
    Path(name): Path<String>,
    visit: Visit,
    PageForm(fields): PageForm<FormFields>,
) -> Result<Redirected, PageError> {
    let mut order = Map::new();
    let mut filter = PageQuery::default();
    for key in FILTERS {
        if let Some(value) = fields.get(key) {
            order.insert(key.to_owned(), value.into());
            filter = filter.with(key, value);
        }
    }
    if let (None, Some(tenant)) = (order.get("tenant"), &visit.person.tenant) {
        order.insert("tenant".to_owned(), tenant.to_string().into());
    }
    if let Some(id) = fields.get("id").and_then(|id| id.parse::<i64>().ok()) {
        order.insert("ids".to_owned(), json!([id]));
    }
    if order.is_empty() {
        order.insert("all".to_owned(), true.into());
    }
    order.insert("dry_run".to_owned(), is_dry(&fields).into());
    let target = format!("{}/refused/retry", target(&name));
    let order = Value::Object(order);
    let sent = console.api.send(&visit.person, "POST", &target, Some(&order)).await;
    let notice = notice(sent, |done: QueuedAgain| {
        let messages = counted(done.messages, "message", "messages");
        if done.queued {
            Notice::done(format!("{messages} wait for link {name} again"))
        } else {
            Notice::warning(format!(
                "Dry run: {messages} would be queued again, at most 10,000 at a time; nothing changed"
            ))
        }
    });
    Ok(Redirected::to(filter.href(&href(&name))).with(notice))
}

/// Queues the stored messages of a period again.
pub(super) async fn refill(
    State(console): State<ConsoleState>,
    Path(name): Path<String>,
    visit: Visit,
    PageForm(fields): PageForm<FormFields>,
) -> Result<Redirected, PageError> {
    let since = fields.get("since").unwrap_or_default();
    let mut order = json!({ "since": since, "dry_run": is_dry(&fields) });
    if let Some(until) = fields.get("until") {
        order["until"] = until.into();
    }
    let target = format!("{}/refill", target(&name));
    let sent = console.api.send(&visit.person, "POST", &target, Some(&order)).await;
    let notice = notice(sent, |done: RefilledPeriod| {
        let messages = counted(done.messages, "message", "messages");
        if done.queued {
            Notice::done(format!("{messages} of the period wait for link {name} again"))
        } else {
            let bytes = i64::try_from(done.bytes).unwrap_or(i64::MAX);
            Notice::warning(format!(
                "Dry run: {messages} ({}) would be queued again; nothing changed",
                super::words::bytes(bytes)
            ))
        }
    });
    Ok(Redirected::to(href(&name)).with(notice))
}

/// Deletes a dead letter.
pub(super) async fn discard(
    State(console): State<ConsoleState>,
    Path((name, id)): Path<(String, String)>,
    visit: Visit,
    PageForm(fields): PageForm<FormFields>,
) -> Result<Redirected, PageError> {
    if fields.get("typed") != Some(id.as_str()) {
        let back = format!("{}/refused/{}", href(&name), segment(&id));
        let text = format!("Nothing was deleted: type {id} to confirm");
        return Ok(Redirected::to(back).with(Notice::failed(text)));
    }
    let target = format!("{}/refused/{}", target(&name), segment(&id));
    let sent = console.api.send(&visit.person, "DELETE", &target, None::<&Value>).await;
    let notice = notice(sent, |_: DiscardedLetters| {
        Notice::done(format!("Message {id} of link {name} is deleted"))
    });
    Ok(Redirected::to(href(&name)).with(notice))
}

/// Deletes all that belongs to a link that is no longer in the links file.
pub(super) async fn forget(
    State(console): State<ConsoleState>,
    Path(name): Path<String>,
    visit: Visit,
    PageForm(fields): PageForm<FormFields>,
) -> Result<Redirected, PageError> {
    if !is_dry(&fields) && fields.get("typed") != Some(name.as_str()) {
        let text = format!("Nothing was deleted: type {name} to confirm");
        return Ok(Redirected::to(href(&name)).with(Notice::failed(text)));
    }
    let query = if is_dry(&fields) { "?dry_run=true" } else { "" };
    let target = format!("{}{query}", target(&name));
    let sent = console.api.send(&visit.person, "DELETE", &target, None::<&Value>).await;
    let mut is_gone = false;
    let notice = notice(sent, |done: ForgottenLink| {
        is_gone = done.forgotten;
        let all = format!(
            "{} waiting, {} in the gap, {} refused messages of link {name}",
            done.messages, done.gap_messages, done.refused
        );
        if done.forgotten {
            Notice::done(format!("Deleted: {all}"))
        } else {
            Notice::warning(format!("Dry run: {all} would be deleted; nothing changed"))
        }
    });
    let to = if is_gone { PATH.to_owned() } else { href(&name) };
    Ok(Redirected::to(to).with(notice))
}

// === private helpers ===

/// Whether the form wants only a count.
fn is_dry(fields: &FormFields) -> bool {
    fields.get("dry") == Some("1")
}

/// What a page says after a call: what was done, or why not.
fn notice<T>(sent: Result<T, ApiFault>, done: impl FnOnce(T) -> Notice) -> Notice {
    match sent {
        Ok(answer) => done(answer),
        Err(fault) => {
            let error = PageError::from(fault);
            Notice::failed(error.detail)
        }
    }
}
