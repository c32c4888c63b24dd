//! The endpoints of an identity provider: where a browser goes, and where a code is redeemed.
//!
//! They come from the provider's own document (`OpenID` Connect Discovery), which must name the
//! issuer itself. Each request is bounded in time and size.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;

use crate::config::sections::console::OidcConfig;
use crate::config::sections::issuer::{IssuerConfig, IssuerKeySource};
use crate::domain::base64_text;
use crate::domain::time::Timestamp;
use crate::web_request::{Authorities, WebError, WebRequest, WebResponse};

/// How long one request may take; a login makes at most two.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// The longest response, in bytes.
const MAX_BYTES: usize = 256 * 1024;

/// How long the endpoints are used before they are read again, in seconds.
const ENDPOINTS_SECONDS: f64 = 900.0;

/// The path of the provider's document below the issuer.
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// The longest text of the provider that an error repeats, in characters.
const SHOWN_MAX: usize = 80;

/// One identity provider.
#[derive(Debug)]
pub(super) struct Provider {
    issuer: String,
    ca_cert: Option<PathBuf>,
    known: Mutex<Option<(Arc<Endpoints>, Timestamp)>>,
}

/// Its endpoints.
#[derive(Debug, Deserialize)]
pub(super) struct Endpoints {
    issuer: String,
    #[serde(rename = "authorization_endpoint")]
    pub authorization: String,
    #[serde(rename = "token_endpoint")]
    token: String,
}

/// Why the provider gives no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProviderError {
    /// A request failed.
    #[error("{url}: {error}")]
    Web {
        /// Which one.
        url: String,
        /// Why.
        error: WebError,
    },
    /// The status is not 200.
    #[error("{url}: the response has status {line}{what}")]
    Status {
        /// Which request.
        url: String,
        /// The status.
        line: String,
        /// What the provider says of it.
        what: String,
    },
    /// The document cannot be used.
    #[error("{url}: {why}")]
    Document {
        /// Which document.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

#[derive(Deserialize)]
struct TokenAnswer {
    id_token: String,
}

#[derive(Deserialize)]
struct TokenRefusal {
    error: String,
}

// === impl Provider ===

impl Provider {
    pub(super) fn new(issuer: &IssuerConfig) -> Self {
        let ca_cert = match &issuer.keys {
            IssuerKeySource::Url { ca_cert, .. } => ca_cert.clone(),
            IssuerKeySource::JwksFile(_) | IssuerKeySource::PemFile(_) => None,
        };
        Self { issuer: issuer.issuer.clone(), ca_cert, known: Mutex::default() }
    }

    /// The endpoints, as the provider's document has them.
    pub(super) async fn endpoints(&self, now: Timestamp) -> Result<Arc<Endpoints>, ProviderError> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((endpoints, at)) = known
            && (0.0..ENDPOINTS_SECONDS).contains(&now.seconds_since(at))
        {
            return Ok(endpoints);
        }
        let url = format!("{}{DISCOVERY}", self.issuer.trim_end_matches('/'));
        let response = self.send(&url, &[("accept", "application/json")], None).await?;
        let endpoints: Endpoints = read(&url, response.body())?;
        if endpoints.issuer != self.issuer {
            return Err(ProviderError::Document { url, why: "it names another issuer" });
        }
        let is_url = |text: &str| text.starts_with("https://") || text.starts_with("http://");
        if !is_url(&endpoints.authorization) || !is_url(&endpoints.token) {
            return Err(ProviderError::Document { url, why: "its endpoints are no URLs" });
        }
        let endpoints = Arc::new(endpoints);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some((Arc::clone(&endpoints), now));
        Ok(endpoints)
    }

    /// Redeems a code for an ID token.
    pub(super) async fn redeem(
        &self,
        settings: &OidcConfig,
        code: &str,
        verifier: &str,
        now: Timestamp,
    ) -> Result<String, ProviderError> {
        let endpoints = self.endpoints(now).await?;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &settings.redirect_uri),
            ("code_verifier", verifier),
        ];
        let mut headers = vec![
            ("accept", "application/json"),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        let basic = settings.client_secret.as_ref().map(|secret| {
            let pair = [encoded(&settings.client_id), encoded(secret.expose())].join(":");
            format!("Basic {}", base64_text::encode(pair.as_bytes()))
        });
        match &basic {
            Some(basic) => headers.push(("authorization", basic)),
            None => form.push(("client_id", &settings.client_id)),
        }
        let body = serde_urlencoded::to_string(form).unwrap_or_default();
        let response = self.send(&endpoints.token, &headers, Some(&body)).await?;
        let answer: TokenAnswer = read(&endpoints.token, response.body())?;
        Ok(answer.id_token)
    }

    async fn send(
        &self,
        url: &str,
        headers: &[(&'static str, &str)],
        body: Option<&str>,
    ) -> Result<WebResponse, ProviderError> {
        let request = WebRequest {
            url,
            headers,
            body,
            authorities: Authorities { file: self.ca_cert.as_deref(), setting: "JWT_CA_CERT" },
            time_limit: TIME_LIMIT,
            max_bytes: MAX_BYTES,
        };
        let failed = |error| ProviderError::Web { url: url.to_owned(), error };
        let response = request.send().await.map_err(failed)?;
        if response.status() == 200 {
            return Ok(response);
        }
        let refusal: Option<TokenRefusal> = serde_json::from_slice(response.body()).ok();
        let what = refusal.map(|refusal| format!(" ({})", shown(&refusal.error)));
        Err(ProviderError::Status {
            url: url.to_owned(),
            line: response.status_line(),
            what: what.unwrap_or_default(),
        })
    }
}

// === private helpers ===

fn read<'a, T: Deserialize<'a>>(url: &str, body: &'a [u8]) -> Result<T, ProviderError> {
    serde_json::from_slice(body).map_err(|_| ProviderError::Document {
        url: url.to_owned(),
        why: "the response lacks what OpenID Connect promises",
    })
}

/// A text as a form encodes it.
fn encoded(text: &str) -> String {
    let pair = serde_urlencoded::to_string([("", text)]).unwrap_or_default();
    pair.trim_start_matches('=').to_owned()
}

/// A code of the provider without anything but its signs.
fn shown(text: &str) -> String {
    let is_plain = |sign: &char| sign.is_ascii_alphanumeric() || "_-. ".contains(*sign);
    text.chars().filter(is_plain).take(SHOWN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_encoded_before_it_is_joined() {
        assert_eq!(encoded("a:b c=%"), "a%3Ab+c%3D%25");
        assert_eq!(shown("invalid_grant<script>\r\n"), "invalid_grantscript");
    }
}
