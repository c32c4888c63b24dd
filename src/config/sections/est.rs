//! Settings of enrolment over Secure Transport (EST).

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::load::reader::SettingReader;
use crate::config::setting::{Setting, SettingKind, SettingRule};

const URL: SettingKind = SettingKind::Text(SettingRule {
    allowed: "an address such as https://est.example.org:8443",
    holds: is_https,
});

/// Longest address that a response names.
const MAX_URL_LEN: usize = 256;

/// Settings of enrolment over Secure Transport.
#[derive(Clone, Debug)]
pub struct EstConfig {
    /// The listener; `None` means that there is none.
    pub listener: Option<EstListenerConfig>,
    /// `REGISTRY_EST_URL`.
    pub registry_url: Option<String>,
}

/// The address of the listener, and its own certificate.
#[derive(Clone, Debug)]
pub struct EstListenerConfig {
    /// `EST_BIND`.
    pub bind: SocketAddr,
    /// `EST_SERVER_CERT`.
    pub certificate: PathBuf,
    /// `EST_SERVER_KEY`.
    pub key: PathBuf,
}

/// The rows of the settings table.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting::optional(
        "EST_BIND",
        SettingKind::Bind,
        "The address of the TLS listener at which devices get and renew certificates (EST, RFC 7030). Not set: there is no \
         such listener.",
    ),
    Setting::optional(
        "EST_SERVER_CERT",
        SettingKind::Path,
        "The certificate of the EST listener, with its chain (PEM). Sluice reads it again when the file changes.",
    ),
    Setting::optional(
        "EST_SERVER_KEY",
        SettingKind::Path,
        "The private key of that certificate (PEM). Only the owner may have access to the file.",
    ),
    Setting::optional(
        "REGISTRY_EST_URL",
        URL,
        "In a cell: the address at which devices reach the EST listener of the registry. The request certificate/renew is \
         answered with it.",
    ),
];

// === impl EstConfig ===

impl EstConfig {
    pub(crate) fn read(reader: &mut SettingReader) -> Self {
        let bind = reader.optional_bind("EST_BIND");
        let (certificate, key) = (reader.path("EST_SERVER_CERT"), reader.path("EST_SERVER_KEY"));
        let listener = match (bind, certificate, key) {
            (Some(bind), Some(certificate), Some(key)) => {
                Some(EstListenerConfig { bind, certificate, key })
            }
            (Some(_), None, _) => {
                let why = "the listener needs its own certificate: set EST_SERVER_CERT and EST_SERVER_KEY";
                reader.conflict(&["EST_BIND", "EST_SERVER_CERT"], why);
                None
            }
            (Some(_), _, None) => {
                let why = "the certificate needs its key: set EST_SERVER_KEY";
                reader.conflict(&["EST_BIND", "EST_SERVER_KEY"], why);
                None
            }
            (None, Some(_), _) => {
                let why = "it is used only by the EST listener: set EST_BIND";
                reader.conflict(&["EST_BIND", "EST_SERVER_CERT"], why);
                None
            }
            (None, None, Some(_)) => {
                let why = "it is used only by the EST listener: set EST_BIND";
                reader.conflict(&["EST_BIND", "EST_SERVER_KEY"], why);
                None
            }
            (None, None, None) => None,
        };
        Self { listener, registry_url: reader.optional_text("REGISTRY_EST_URL") }
    }
}

fn is_https(url: &str) -> bool {
    let host = url.strip_prefix("https://").unwrap_or_default();
    let begins_well = host.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '[');
    begins_well && url.len() <= MAX_URL_LEN && url.bytes().all(|byte| byte.is_ascii_graphic())
}
