//! `/ca-bundle` and `/crl.pem`, `/crl.der`: the authority's certificates and its CRL, read from
//! files.
//!
//! It serves no file that it cannot verify.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, LAST_MODIFIED};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use schemars::{Schema, SchemaGenerator};

use crate::clock;
use crate::disk;
use crate::http::api::extract::{Call, NoBody, NoParams};
use crate::http::api::problem::{Problem, ProblemKind};
use crate::http::api::route::Answer;
use crate::http::api::state::Api;
use crate::pki::authority::AuthorityCertificate;
use crate::pki::crl::{Crl, MAX_CRL_BYTES};
use crate::pki::files;

/// Certificates in PEM.
#[derive(Debug)]
pub(crate) struct Bundle(String);

/// A CRL in PEM.
#[derive(Debug)]
pub(crate) struct CrlPem(CrlFile);

/// A CRL in DER.
#[derive(Debug)]
pub(crate) struct CrlDer(CrlFile);

/// A verified CRL and when its file was written.
#[derive(Debug)]
struct CrlFile {
    crl: Crl,
    written_at: Option<SystemTime>,
}

pub(crate) async fn bundle(
    api: Api,
    _: Call<NoParams, NoParams, NoBody>,
) -> Result<Bundle, Problem> {
    let path = api.config.certificates.ca_cert_path.clone();
    apart(path.as_ref(), move || Ok(Bundle(authority(&api)?.bundle_pem()))).await
}

pub(crate) async fn crl_pem(
    api: Api,
    _: Call<NoParams, NoParams, NoBody>,
) -> Result<CrlPem, Problem> {
    let path = api.config.certificates.crl_output_path.clone();
    apart(path.as_ref(), move || published(&api).map(CrlPem)).await
}

pub(crate) async fn crl_der(
    api: Api,
    _: Call<NoParams, NoParams, NoBody>,
) -> Result<CrlDer, Problem> {
    let path = api.config.certificates.crl_output_path.clone();
    apart(path.as_ref(), move || published(&api).map(CrlDer)).await
}

// === impl Answer ===

macro_rules! file_answer {
    ($type:ident, $media:literal, $self:ident => $body:expr, $written:expr) => {
        impl Answer for $type {
            const STATUS: StatusCode = StatusCode::OK;
            const MEDIA_TYPE: &'static str = $media;

            fn schema(_: &mut SchemaGenerator) -> Option<Schema> {
                None
            }
        }

        impl IntoResponse for $type {
            fn into_response($self) -> Response {
                file($media, $body, $written)
            }
        }
    };
}

file_answer!(Bundle, "application/x-pem-file", self => self.0.into_bytes(), None);
file_answer!(CrlPem, "application/x-pem-file", self => self.0.crl.to_pem().into_bytes(), self.0.written_at);
file_answer!(CrlDer, "application/pkix-crl", self => self.0.crl.der().to_vec(), self.0.written_at);

// === private helpers ===

/// Runs `work` apart from the messages: verifying a long CRL takes time, and a file system can
/// hang.
pub(super) async fn apart<T: Send + 'static>(
    path: Option<&PathBuf>,
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let done = disk::run(path.map_or(Path::new(""), PathBuf::as_path), work).await;
    done.unwrap_or_else(|error| Err(Problem::new(ProblemKind::Unavailable, error.to_string())))
}

fn authority(api: &Api) -> Result<AuthorityCertificate, Problem> {
    let path = named(api.config.certificates.ca_cert_path.as_ref(), "DEVICE_CA_CERT_PATH")?;
    is_there(path)?;
    AuthorityCertificate::open(path, clock::now()).map_err(|error| {
        Problem::new(ProblemKind::Unavailable, format!("{}: {error}", path.display()))
    })
}

fn published(api: &Api) -> Result<CrlFile, Problem> {
    let path = named(api.config.certificates.crl_output_path.as_ref(), "CRL_OUTPUT_PATH")?;
    let written_at = is_there(path)?;
    let unusable = |why: String| {
        Problem::new(ProblemKind::Unavailable, format!("{} cannot be used: {why}", path.display()))
    };
    let bytes = files::read(path, MAX_CRL_BYTES).map_err(|error| unusable(error.to_string()))?;
    let crl = Crl::read(&bytes, &authority(api)?).map_err(|error| unusable(error.to_string()))?;
    Ok(CrlFile { crl, written_at })
}

fn named<'a>(path: Option<&'a PathBuf>, setting: &str) -> Result<&'a PathBuf, Problem> {
    path.ok_or_else(|| Problem::not_found(format!("no such file is configured: set {setting}")))
}

/// Checks that the file exists. `None` means its time is unknown.
fn is_there(path: &PathBuf) -> Result<Option<SystemTime>, Problem> {
    match std::fs::metadata(path) {
        Ok(file) => Ok(file.modified().ok()),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Problem::not_found(format!(
            "{} does not exist yet: create it with `sluice ca init`",
            path.display()
        ))),
        Err(error) => {
            Err(Problem::new(ProblemKind::Unavailable, format!("{}: {error}", path.display())))
        }
    }
}

fn file(media_type: &'static str, body: Vec<u8>, written_at: Option<SystemTime>) -> Response {
    let date = written_at
        .map(|time| DateTime::<Utc>::from(time).format("%a, %d %b %Y %H:%M:%S GMT").to_string());
    let mut response = ([(CONTENT_TYPE, media_type)], body).into_response();
    if let Some(date) = date.and_then(|date| date.parse().ok()) {
        response.headers_mut().insert(LAST_MODIFIED, date);
    }
    response
}
