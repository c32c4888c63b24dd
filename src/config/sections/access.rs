//! Settings of access control: the policy, and the issuers whose tokens are accepted.
//!
//! It reads the list of issuers, but none of their keys: the code that refreshes keys finds whether
//! they exist.

use std::path::PathBuf;

use super::issuer::{self, IssuerConfig, LEEWAY_MAX, UncheckedIssuer};
use super::issuer_list;
use super::names::is_list;
use crate::config::load::reader::SettingReader;
use crate::config::setting::{Setting, SettingKind, SettingRule};

/// Settings of access control.
#[derive(Clone, Debug)]
pub struct AccessConfig {
    /// `ACL_RULES_PATH`.
    pub acl_rules_path: Option<PathBuf>,
    /// The issuers whose tokens are accepted; empty means none.
    pub issuers: Vec<IssuerConfig>,
}

const NAMES: SettingKind =
    SettingKind::Text(SettingRule { allowed: "names separated by commas", holds: is_list });

/// The rows of the settings table.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting::optional(
        "ACL_RULES_PATH",
        SettingKind::Path,
        "The access policy (JSON or TOML): which clients may use which topics. Not set: only the built-in rules.",
    ),
    Setting::optional(
        "JWT_ISSUER",
        SettingKind::Text(issuer::NAME),
        "The issuer (iss) whose tokens Sluice accepts when a client logs in at the broker. Not set: only the issuers in \
         JWT_ISSUERS_PATH.",
    ),
    Setting::optional(
        "JWT_AUDIENCE",
        NAMES,
        "The accepted audiences: the token's aud must contain one of them. Not set: aud is not checked.",
    ),
    Setting::optional(
        "JWT_JWKS_URL",
        SettingKind::Text(issuer::URL),
        "The URL at which the issuer publishes its keys (a JSON Web Key Set).",
    ),
    Setting::optional(
        "JWT_CA_CERT",
        SettingKind::Path,
        "The certificate authorities (PEM) that may have signed the server certificate of JWT_JWKS_URL. Not set: the system's \
         root certificates.",
    ),
    Setting::optional(
        "JWT_JWKS_PATH",
        SettingKind::Path,
        "Instead of JWT_JWKS_URL: a file with the issuer's JSON Web Key Set. Sluice reads it again when it changes.",
    ),
    Setting::optional(
        "JWT_PEM_PATH",
        SettingKind::Path,
        "Instead of JWT_JWKS_URL: a file with the issuer's public keys or certificates (PEM). Sluice reads it again when it \
         changes.",
    ),
    Setting::whole(
        "JWT_LEEWAY_SECONDS",
        "30",
        (0, LEEWAY_MAX as u64),
        "seconds",
        "How far the clocks of the issuer and of Sluice may differ.",
    ),
    Setting::optional(
        "JWT_REQUIRED_CLAIMS",
        NAMES,
        "Claims that a token must contain, in addition to iss and exp.",
    ),
    Setting::with_default(
        "JWT_GROUP_CLAIMS",
        "realm_access.roles,groups",
        NAMES,
        "The claims that contain the groups of a token. A dot separates the levels of nested objects.",
    ),
    Setting::with_default(
        "JWT_SCOPE_CLAIMS",
        "scope",
        NAMES,
        "The claims that contain the scopes of a token, as a text or a list.",
    ),
    Setting::optional(
        "JWT_ISSUERS_PATH",
        SettingKind::Path,
        "A file with more issuers: [[issuer]] tables in TOML, or a list in JSON if its name ends in .json. Its keys are the \
         names of the JWT_ settings in lower case, without jwt_.",
    ),
];

// === impl AccessConfig ===

impl AccessConfig {
    pub(crate) fn read(reader: &mut SettingReader) -> Self {
        let unchecked = UncheckedIssuer::read(reader);
        let mut issuers = Vec::new();
        if unchecked.issuer.is_empty() {
            unchecked.needs_an_issuer(reader);
        } else if let Some(issuer) =
            unchecked.clone().checked(|why| reader.conflict(&["JWT_ISSUER"], why))
        {
            issuers.push(issuer);
        }
        if let Some(path) = reader.path("JWT_ISSUERS_PATH") {
            issuer_list::read(&path, &unchecked, &mut issuers, |error| reader.push_error(error));
        }
        if unchecked.ca_cert.is_some() && !issuers.iter().any(IssuerConfig::uses_tls) {
            reader.conflict(
                &["JWT_CA_CERT"],
                "it is used only for keys from an https:// URL: remove it",
            );
        }
        Self { acl_rules_path: reader.path("ACL_RULES_PATH"), issuers }
    }
}
