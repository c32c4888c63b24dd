//! What a form sends, as a type. A form that cannot be read is answered by a page that says why.
//!
//! It checks no token: the middleware of sessions does.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use http_body_util::BodyExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::page::PageError;
use crate::http::MAX_BODY;

/// The largest form, in bytes: that of the largest change, each of its bytes percent-encoded.
pub(crate) const MAX_FORM: usize = 3 * MAX_BODY;

/// The fields of a form. For a field that comes several times take `PageForm<FormFields>`.
#[derive(Clone, Debug)]
pub(crate) struct PageForm<T>(pub T);

/// The fields as they come.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct FormFields(Vec<(String, String)>);

/// Reads the form of a change. The rest of one that is too large is read and thrown away, or else the
/// browser would not read the answer.
pub(crate) async fn read_form(mut body: Body) -> Result<Bytes, PageError> {
    let (mut form, mut size) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            PageError::bad_request(format!("the form did not arrive: {error}; load the page again"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        size += data.len();
        if size <= MAX_FORM {
            form.extend_from_slice(&data);
        }
    }
    if size > MAX_FORM {
        let why = format!(
            "Nothing was changed: the form has {size} bytes, and Sluice reads at most {MAX_FORM}. \
             Go back, and shorten it."
        );
        return Err(PageError::new(StatusCode::PAYLOAD_TOO_LARGE, "The form is too large", why));
    }
    Ok(form.into())
}

// === impl FormFields ===

impl FormFields {
    /// The first value of a name that is not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, value)| key == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }

    /// All values of a name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

// === impl PageForm ===

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for PageForm<T> {
    type Rejection = PageError;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|error| PageError::bad_request(format!("the form did not arrive: {error}")))?;
        serde_urlencoded::from_bytes(&body)
            .map(Self)
            .map_err(|error| PageError::bad_request(format!("the form cannot be read: {error}")))
    }
}
