//! Removes the payloads of messages from responses to viewers, unless `CONSOLE_VIEWER_PAYLOADS` is
//! on.
//!
//! The route says which fields hold payloads. Metrics are no payload: they are what a viewer reads.

use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::CONTENT_LENGTH;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::identity::Acting;
use super::problem::{Problem, ProblemKind};
use super::state::Api;
use crate::domain::caller::CallerRole;

/// The largest response with payloads, in bytes: a page of rows, each with a payload of the largest
/// size that is stored.
const MAX_MASKED: usize = 64 * 1024 * 1024;

/// Whether the sender sees the payloads of messages. Callers over MQTT always do.
pub(crate) fn sees_payloads(api: &Api, acting: &Acting) -> bool {
    let is_viewer = acting.role == CallerRole::Viewer && acting.is_person;
    !is_viewer || api.config.console.viewer_payloads
}

/// The response without the values of these fields: each becomes null, in the object itself and in
/// its `items`.
pub(super) async fn mask(response: Response, fields: &[&str]) -> Response {
    if !response.status().is_success() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Some(body) = masked(body, fields).await else {
        let detail = "Sluice could not remove the payloads from the response: request less";
        return Problem::new(ProblemKind::Internal, detail).into_response();
    };
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(body))
}

// === private helpers ===

async fn masked(body: Body, fields: &[&str]) -> Option<Bytes> {
    let body = to_bytes(body, MAX_MASKED).await.ok()?;
    let mut value: Value = serde_json::from_slice(&body).ok()?;
    clear(&mut value, fields);
    let items = value.get_mut("items").and_then(Value::as_array_mut);
    for item in items.into_iter().flatten() {
        clear(item, fields);
    }
    serde_json::to_vec(&value).ok().map(Bytes::from)
}

fn clear(value: &mut Value, fields: &[&str]) {
    for field in fields {
        if let Some(found) = value.get_mut(*field) {
            *found = Value::Null;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::api::routes::{api_document, table};

    /// Whether a schema, or one that it names, has one of these fields.
    fn has_field(document: &Value, schema: &Value, fields: &[&str], depth: usize) -> bool {
        if depth == 0 {
            return false;
        }
        let named = schema["$ref"].as_str().and_then(|name| name.strip_prefix('#'));
        if let Some(named) = named.and_then(|place| document.pointer(place)) {
            return has_field(document, named, fields, depth - 1);
        }
        match schema {
            Value::Object(parts) => {
                let own = parts.get("properties").and_then(Value::as_object);
                own.is_some_and(|own| fields.iter().any(|field| own.contains_key(*field)))
                    || parts.values().any(|part| has_field(document, part, fields, depth - 1))
            }
            Value::Array(parts) => {
                parts.iter().any(|part| has_field(document, part, fields, depth - 1))
            }
            _ => false,
        }
    }

    #[test]
    fn each_route_of_viewers_that_shows_payloads_says_where() {
        let document = api_document();
        let mut count = 0;
        for route in table() {
            let answer = &document["paths"][route.path][route.method]["responses"]["200"];
            let shows = has_field(document, answer, &["payload", "payload_hex", "extra"], 16);
            let is_for_viewers = route.access.role == CallerRole::Viewer;
            if shows && is_for_viewers {
                assert!(!route.access.payloads.is_empty(), "{} {}", route.method, route.path);
                count += 1;
            }
        }
        assert!(count >= 5, "{count}");
    }

    #[tokio::test]
    async fn only_the_named_fields_become_null() {
        let body =
            r#"{"payload":"a","x":1,"items":[{"payload":"b","y":{"payload":"kept"}},{"z":2}]}"#;
        let response = mask(body.into_response(), &["payload"]).await;
        let masked = to_bytes(response.into_body(), 1_000).await.unwrap();
        let expected =
            r#"{"items":[{"payload":null,"y":{"payload":"kept"}},{"z":2}],"payload":null,"x":1}"#;
        let masked: Value = serde_json::from_slice(&masked).unwrap();
        assert_eq!(masked, serde_json::from_str::<Value>(expected).unwrap());
        let broken = mask("{".into_response(), &["payload"]).await;
        assert_eq!(broken.status(), 500, "what cannot be masked is not shown");
    }
}
