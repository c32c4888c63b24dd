//! `/console/enrolment-codes`: the codes with which devices get their first certificate over EST.
//! A code is on one page, once.
//!
//! The routes of the API decide.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::console::cells::{AuthorityChoice, authority_choice};
use crate::console::filters;
use crate::console::form::PageForm;
use crate::console::frame::{Frame, shell_quoted};
use crate::console::list::{Pager, ROWS};
use crate::console::navigation::NavPage;
use crate::console::notice::{Notice, Redirected};
use crate::console::page::{PageError, WebPage};
use crate::console::query::{PageQuery, segment};
use crate::console::state::ConsoleState;
use crate::console::visit::Visit;
use crate::domain::caller::CallerRole;
use crate::http::{EnrolmentCodeView, MadeEnrolmentCode, PageOf, TenantView};

const CODES: &str = "/console/enrolment-codes";

/// Most tenants that the page offers.
const TENANTS: &str = "/api/v1/tenants?limit=200";

/// The page.
#[derive(Template)]
#[template(path = "enrolment_codes.html")]
struct CodesPage {
    frame: Frame,
    tenants: Vec<String>,
    tenant: String,
    codes: Vec<EnrolmentCodeView>,
    /// The authorities of cells that may sign.
    authorities: AuthorityChoice,
    pager: Pager,
}

/// The code that was made.
#[derive(Template)]
#[template(path = "enrolment_code.html")]
struct MadePage {
    frame: Frame,
    made: MadeEnrolmentCode,
    back: String,
}

/// The form of a code.
#[derive(Deserialize)]
pub(super) struct CodeForm {
    tenant: String,
    /// A device, or the beginning of names and `*`.
    device: String,
    #[serde(default)]
    max_uses: String,
    #[serde(default)]
    expires: String,
    #[serde(default)]
    site_id: String,
    /// The authority of a cell; empty: the own one.
    #[serde(default)]
    authority: String,
    /// Present if the code adds devices that are not registered.
    #[serde(default)]
    adds_devices: String,
}

/// The form that revokes a code.
#[derive(Deserialize)]
pub(super) struct RevokeCodeForm {
    tenant: String,
    code: String,
}

pub(super) async fn show(
    State(console): State<ConsoleState>,
    visit: Visit,
) -> Result<Response, PageError> {
    let query = visit.query().clone();
    let own = visit.person.tenant.as_ref().map(ToString::to_string);
    let tenants: Vec<String> = if let Some(own) = own {
        vec![own]
    } else {
        let page: PageOf<TenantView> = console.api.get(&visit.person, TENANTS).await?;
        page.items.into_iter().map(|tenant| tenant.tenant_id).collect()
    };
    let tenant = query.get("tenant").map(str::to_owned).or_else(|| tenants.first().cloned());
    let tenant = tenant.unwrap_or_default();
    let target = query
        .only(&["cursor"])
        .with("limit", &ROWS.to_string())
        .with("cursor", query.get("cursor").unwrap_or_default())
        .href(&codes_of(&tenant));
    let frame = visit.frame("Enrolment codes", NavPage::Certificates);
    let (frame, page) = if tenant.is_empty() {
        (frame, PageOf { items: Vec::new(), next: None })
    } else {
        let page: PageOf<EnrolmentCodeView> = console.api.get(&visit.person, &target).await?;
        let command = format!("enrol list {}", shell_quoted(&tenant));
        (frame.same_by(&command, "GET", &target), page)
    };
    let pager = Pager::new(CODES, &query, page.items.len(), page.next.as_deref());
    let authorities = authority_choice(&console, &visit, CallerRole::Admin).await;
    let codes = page.items;
    Ok(WebPage(CodesPage { frame, tenants, tenant, codes, authorities, pager }).into_response())
}

pub(super) async fn make(
    State(console): State<ConsoleState>,
    visit: Visit,
    PageForm(form): PageForm<CodeForm>,
) -> Result<Response, PageError> {
    let back = PageQuery::from([("tenant", form.tenant.as_str())]).href(CODES);
    let order = form.order()?;
    let target = codes_of(&form.tenant);
    let made: MadeEnrolmentCode = console
        .api
        .send(&visit.person, "POST", &target, Some(&order))
        .await
        .map_err(|fault| PageError::from(fault).or("Back", back.clone()))?;
    let body = Value::Object(order).to_string();
    let frame = visit
        .frame("New enrolment code", NavPage::Certificates)
        .same_by_sending("", "POST", &target, &body);
    Ok(WebPage(MadePage { frame, made, back }).into_response())
}

pub(super) async fn revoke(
    State(console): State<ConsoleState>,
    visit: Visit,
    PageForm(form): PageForm<RevokeCodeForm>,
) -> Result<Redirected, PageError> {
    let target = format!("{}/{}", codes_of(&form.tenant), segment(&form.code));
    let none: Option<&Value> = None;
    console.api.send::<IgnoredAny>(&visit.person, "DELETE", &target, none).await?;
    let back = PageQuery::from([("tenant", form.tenant.as_str())]).href(CODES);
    let notice = Notice::done("The code is revoked. Certificates issued with it stay valid.");
    Ok(Redirected::to(back).with(notice))
}

// === impl CodesPage ===

impl CodesPage {
    /// Whether a code on the page, or a new one, names an authority.
    fn has_authorities(&self) -> bool {
        !self.authorities.names.is_empty() || self.codes.iter().any(|code| code.authority.is_some())
    }
}

// === impl CodeForm ===

impl CodeForm {
    /// The body of the call.
    fn order(&self) -> Result<Map<String, Value>, PageError> {
        let mut order = Map::new();
        let device = self.device.trim();
        let field = if device.ends_with('*') { "device_pattern" } else { "device_id" };
        order.insert(field.to_owned(), device.into());
        if !self.max_uses.trim().is_empty() {
            let uses: u32 =
                self.max_uses.trim().parse().map_err(|_| {
                    PageError::bad_request("the number of uses expects a whole number")
                })?;
            order.insert("max_uses".to_owned(), uses.into());
        }
        for (name, text) in
            [("expires", &self.expires), ("site_id", &self.site_id), ("authority", &self.authority)]
        {
            if !text.trim().is_empty() {
                order.insert(name.to_owned(), text.trim().into());
            }
        }
        order.insert("adds_devices".to_owned(), (!self.adds_devices.is_empty()).into());
        Ok(order)
    }
}

// === private helpers ===

fn codes_of(tenant: &str) -> String {
    format!("/api/v1/tenants/{}/enrolment-codes", segment(tenant))
}
