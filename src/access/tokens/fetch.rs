//! Fetches an issuer's keys: one GET, bounded in time and size, whose status must be 200.
//!
//! It sends no credentials and accepts no redirect.

use std::path::Path;
use std::time::Duration;

use crate::web_request::{Authorities, WebError, WebRequest};

/// How long name resolution, connection, request and response may take together.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest response, in bytes: a set of thirty keys with certificates has half of it.
pub const MAX_BYTES: usize = 256 * 1024;

/// Why a fetch failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// There is no response.
    #[error(transparent)]
    Web(#[from] WebError),
    /// The status is not 200.
    #[error("the response has status {line}, {}", status_advice(*.status))]
    Status {
        /// The code.
        status: u16,
        /// The code with its meaning.
        line: String,
    },
}

/// Fetches `url`. The server's certificate must be signed by an authority in `ca_cert`; `None`
/// means the system's roots.
pub async fn fetch(url: &str, ca_cert: Option<&Path>) -> Result<Vec<u8>, FetchError> {
    let request = WebRequest {
        url,
        headers: &[("accept", "application/json")],
        body: None,
        authorities: Authorities { file: ca_cert, setting: "JWT_CA_CERT" },
        time_limit: FETCH_TIMEOUT,
        max_bytes: MAX_BYTES,
    };
    let response = request.send().await?;
    match response.status() {
        200 => Ok(response.into_body()),
        status => Err(FetchError::Status { status, line: response.status_line() }),
    }
}

// --- private helpers ---

const fn status_advice(status: u16) -> &'static str {
    match status {
        300..=399 => "and Sluice does not follow redirects: set the URL to the target",
        _ => "but 200 is expected: check the URL",
    }
}
