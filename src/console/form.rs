//! What a form sends, as a type. A form that cannot be read is answered by a page that says why.
//!
//! It checks no token: the middleware of sessions does.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use super::page::PageError;

/// The fields of a form. For a field that comes several times take `PageForm<FormFields>`.
#[derive(Clone, Debug)]
pub(crate) struct PageForm<T>(pub T);

/// The fields as they come.
pub(crate) type FormFields = Vec<(String, String)>;

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
