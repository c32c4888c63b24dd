//! `/console/devices/{tenant}/{device}/edit`: the site and the metadata of a device. The whole
//! metadata are edited; the API gets the difference as a merge patch, for the version that was read.
//!
//! A member that is null cannot be kept: in a merge patch null removes.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::actions::back;
use crate::console::device_address::DeviceAddress;
use crate::console::devices::read_metadata;
use crate::console::filters;
use crate::console::form::PageForm;
use crate::console::frame::{Frame, NavPage};
use crate::console::page::{PageError, WebPage};
use crate::console::state::ConsoleState;
use crate::console::visit::Visit;
use crate::domain::time::Timestamp;
use crate::http::DeviceDetailView;

/// The form.
#[derive(Template)]
#[template(path = "device_edit.html")]
struct DeviceEditPage {
    frame: Frame,
    base: String,
    name: String,
    given: DeviceEditForm,
    fault: Option<String>,
}

/// What the form sends.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct DeviceEditForm {
    #[serde(default)]
    site: String,
    #[serde(default)]
    metadata: String,
    /// The version that was read.
    version: i64,
}

pub(super) async fn form(
    State(console): State<ConsoleState>,
    Path(address): Path<DeviceAddress>,
    visit: Visit,
) -> Result<Response, PageError> {
    let device: DeviceDetailView = console.api.get(&visit.person, &address.api()).await?;
    let given = DeviceEditForm {
        site: device.device.site_id.unwrap_or_default(),
        metadata: serde_json::to_string_pretty(&device.metadata).unwrap_or_default(),
        version: Timestamp::from(device.device.updated_at).micros(),
    };
    Ok(page(&visit, &address, given, None).into_response())
}

pub(super) async fn save(
    State(console): State<ConsoleState>,
    Path(address): Path<DeviceAddress>,
    visit: Visit,
    PageForm(given): PageForm<DeviceEditForm>,
) -> Response {
    let again = |given, fault| {
        let page = page(&visit, &address, given, Some(fault));
        (StatusCode::UNPROCESSABLE_ENTITY, page).into_response()
    };
    let metadata = match read_metadata(&given.metadata) {
        Ok(metadata) => metadata,
        Err(fault) => return again(given, fault),
    };
    let read = console.api.get::<DeviceDetailView>(&visit.person, &address.api()).await;
    let before = match read {
        Ok(device) => device.metadata.as_object().cloned().unwrap_or_default(),
        Err(fault) => return back(&address, Err(fault)).into_response(),
    };
    let site = Some(given.site.trim()).filter(|site| !site.is_empty());
    let body = json!({ "site_id": site, "metadata": patch_between(&before, &metadata) });
    let (person, target) = (&visit.person, address.api());
    let sent =
        console.api.send_for_version::<IgnoredAny>(person, "PATCH", &target, given.version, &body);
    match sent.await {
        Ok(_) => back(&address, Ok("The device is changed".to_owned())).into_response(),
        Err(fault) if matches!(fault.status, 400 | 412 | 413 | 422) => {
            again(given, PageError::from(fault).detail)
        }
        Err(fault) => back(&address, Err(fault)).into_response(),
    }
}

// === private helpers ===

fn page(
    visit: &Visit,
    address: &DeviceAddress,
    given: DeviceEditForm,
    fault: Option<String>,
) -> WebPage<DeviceEditPage> {
    let name = format!("{}/{}", address.tenant, address.device);
    let command =
        format!("device edit {} --site SITE --metadata '{{\"key\": null}}'", address.words());
    let frame = visit.frame(format!("Edit {name}"), NavPage::Devices);
    let frame = frame.same_by_sending(
        &command,
        "PATCH",
        &address.api(),
        r#"{"site_id": "SITE", "metadata": {"key": null}}"#,
    );
    WebPage(DeviceEditPage { frame, base: address.path(), name, given, fault })
}

/// The merge patch that makes `after` of `before`.
fn patch_between(before: &Map<String, Value>, after: &Map<String, Value>) -> Map<String, Value> {
    let removed = before.keys().filter(|name| !after.contains_key(*name));
    let mut patch: Map<String, Value> = removed.map(|name| (name.clone(), Value::Null)).collect();
    for (name, value) in after {
        match (before.get(name), value) {
            (Some(old), new) if old == new => {}
            (Some(Value::Object(old)), Value::Object(new)) => {
                patch.insert(name.clone(), Value::Object(patch_between(old, new)));
            }
            (_, new) => {
                patch.insert(name.clone(), new.clone());
            }
        }
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_says_what_changed_and_removes_what_is_gone() {
        let read = |text: &str| read_metadata(text).unwrap();
        let before = read(r#"{"a":1,"b":{"c":1,"d":2},"e":[1],"same":"x"}"#);
        let after = read(r#"{"b":{"c":1,"d":3,"f":4},"e":[2],"same":"x","new":true}"#);
        let patch = Value::Object(patch_between(&before, &after));
        assert_eq!(patch, json!({ "a": null, "b": { "d": 3, "f": 4 }, "e": [2], "new": true }));
        assert!(patch_between(&before, &before).is_empty());
    }
}
