//! Removes the payloads of messages from responses to viewers, unless `CONSOLE_VIEWER_PAYLOADS` is
//! on.
//!
//! The route says which fields hold payloads. Metrics are no payload: they are what a viewer reads.

use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::CONTENT_LENGTH;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::access::Acting;
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
    match masked(body, fields).await {
        Some(body) => {
            parts.headers.remove(CONTENT_LENGTH);
            Response::from_parts(parts, Body::from(body))
        }
        None => {
            let detail = "Sluice could not remove the payloads from the response: request less";
            Problem::new(ProblemKind::Internal, detail).into_response()
        }
    }
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
