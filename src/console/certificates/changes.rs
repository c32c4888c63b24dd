//! Renew, rotate, confirm and revoke from a page. A new private key is on one page, once.
//!
//! The routes of the API decide.

use askama::Template;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::listed::CERTIFICATES;
use crate::console::device_address::device_path;
use crate::console::filters;
use crate::console::form::PageForm;
use crate::console::frame::Frame;
use crate::console::navigation::NavPage;
use crate::console::notice::{Notice, Redirected};
use crate::console::page::{PageError, WebPage};
use crate::console::query::segment;
use crate::console::state::ConsoleState;
use crate::console::visit::Visit;
use crate::http::{CertificateDetailView, IssuedCertificate};

/// The form of a successor.
#[derive(Deserialize)]
pub(super) struct SuccessorForm {
    /// `csr` or `new`.
    key: String,
    #[serde(default)]
    csr: String,
    #[serde(default)]
    days: String,
    #[serde(default)]
    grace_hours: String,
    /// The authority of a cell; empty: the one that issued the old certificate.
    #[serde(default)]
    authority: String,
}

/// The form of a revocation.
#[derive(Deserialize)]
pub(super) struct RevokeForm {
    reason: String,
    #[serde(default)]
    typed: String,
}

/// The new certificate, and its key if Sluice generated one.
#[derive(Template)]
#[template(path = "certificate_issued.html")]
pub(super) struct IssuedPage {
    frame: Frame,
    issued: IssuedCertificate,
    /// What happens to the old certificate.
    fate: String,
    device: String,
}

pub(super) async fn renew(
    State(console): State<ConsoleState>,
    Path(certificate): Path<String>,
    visit: Visit,
    PageForm(form): PageForm<SuccessorForm>,
) -> Result<WebPage<IssuedPage>, PageError> {
    succeed(&console, &visit, &certificate, "renew", &form).await
}

pub(super) async fn rotate(
    State(console): State<ConsoleState>,
    Path(certificate): Path<String>,
    visit: Visit,
    PageForm(form): PageForm<SuccessorForm>,
) -> Result<WebPage<IssuedPage>, PageError> {
    succeed(&console, &visit, &certificate, "rotate", &form).await
}

pub(super) async fn confirm(
    State(console): State<ConsoleState>,
    Path(certificate): Path<String>,
    visit: Visit,
) -> Result<Redirected, PageError> {
    let path = segment(&certificate);
    let target = format!("/api/v1/certificates/{path}/confirm");
    let none: Option<&Value> = None;
    console.api.send::<IgnoredAny>(&visit.person, "POST", &target, none).await?;
    let notice = Notice::done("The device uses this certificate. Its earlier ones are revoked.");
    Ok(Redirected::to(format!("{CERTIFICATES}/{path}")).with(notice))
}

pub(super) async fn revoke(
    State(console): State<ConsoleState>,
    Path(certificate): Path<String>,
    visit: Visit,
    PageForm(form): PageForm<RevokeForm>,
) -> Result<Redirected, PageError> {
    let path = segment(&certificate);
    let target = format!("/api/v1/certificates/{path}");
    let page = format!("{CERTIFICATES}/{path}");
    let found: CertificateDetailView = console.api.get(&visit.person, &target).await?;
    let row = found.certificate;
    if form.typed != row.device_id {
        let why = format!("Nothing was revoked: type {} to confirm.", row.device_id);
        return Ok(Redirected::to(page).with(Notice::failed(why)));
    }
    let body = json!({ "reason": form.reason });
    let target = format!("{target}/revoke");
    console.api.send::<IgnoredAny>(&visit.person, "POST", &target, Some(&body)).await?;
    let done = format!(
        "The certificate of {}/{} is revoked. The steps below show how far the broker is.",
        row.tenant_id, row.device_id
    );
    Ok(Redirected::to(format!("{page}#chain")).with(Notice::done(done)))
}

// === private helpers ===

async fn succeed(
    console: &ConsoleState,
    visit: &Visit,
    certificate: &str,
    action: &'static str,
    form: &SuccessorForm,
) -> Result<WebPage<IssuedPage>, PageError> {
    let path = segment(certificate);
    let body = form.order(action == "rotate")?;
    let target = format!("/api/v1/certificates/{path}/{action}");
    let issued: IssuedCertificate = console
        .api
        .send(&visit.person, "POST", &target, Some(&body))
        .await
        .map_err(|fault| PageError::from(fault).or("Back", format!("{CERTIFICATES}/{path}")))?;
    let fate = if action == "rotate" {
        "The old certificate is revoked after its grace period, or as soon as you confirm the new one."
    } else {
        "The old certificate stays valid until it ends."
    };
    let title = format!(
        "New certificate of {}/{}",
        issued.certificate.tenant_id, issued.certificate.device_id
    );
    let command = format!("cert {action} {path} --csr device.csr --out device.crt");
    let shown = if form.key == "new" { r#"{"new_key":true}"# } else { r#"{"csr":"..."}"# };
    let frame =
        visit.frame(title, NavPage::Certificates).same_by_sending(&command, "POST", &target, shown);
    let device = device_path(&issued.certificate.tenant_id, &issued.certificate.device_id);
    Ok(WebPage(IssuedPage { frame, issued, fate: fate.to_owned(), device }))
}

// === impl SuccessorForm ===

impl SuccessorForm {
    /// The body of the call.
    fn order(&self, has_grace: bool) -> Result<Map<String, Value>, PageError> {
        let mut order = Map::new();
        if self.key == "new" {
            order.insert("new_key".to_owned(), true.into());
        } else {
            order.insert("csr".to_owned(), self.csr.replace("\r\n", "\n").into());
        }
        let numbers = [("days", &self.days), ("grace_hours", &self.grace_hours)];
        for (name, text) in numbers {
            let is_sent = name == "days" || has_grace;
            if text.trim().is_empty() || !is_sent {
                continue;
            }
            let number: u32 = text.trim().parse().map_err(|_| {
                PageError::bad_request(format!("`{name}` expects a whole number, not {text:?}"))
            })?;
            order.insert(name.to_owned(), number.into());
        }
        if !self.authority.trim().is_empty() {
            order.insert("authority".to_owned(), self.authority.trim().into());
        }
        Ok(order)
    }
}

// === impl IssuedPage ===

impl IssuedPage {
    /// The private key, if Sluice generated it.
    fn key(&self) -> Option<&str> {
        self.issued.private_key.as_ref().map(|key| key.0.expose())
    }

    /// A text as an address that a browser saves as a file.
    fn download(text: &str) -> String {
        format!("data:application/x-pem-file,{}", segment(text))
    }

    fn href(&self) -> String {
        format!("{CERTIFICATES}/{}", self.issued.certificate.id)
    }

    fn file_name(&self, end: &str) -> String {
        format!("{}.{end}", self.issued.certificate.device_id)
    }
}
