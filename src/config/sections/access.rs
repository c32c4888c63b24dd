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
        "The policy: who may do what with which topics (JSON or TOML). Not set: only what is built in.",
    ),
    Setting::optional(
        "JWT_ISSUER",
        SettingKind::Text(issuer::NAME),
        "Whose tokens are taken at the broker's door. Not set: nobody's, unless JWT_ISSUERS_PATH names some.",
    ),
    Setting::optional(
        "JWT_AUDIENCE",
        NAMES,
        "Whom a token must be meant for: its aud names one of these. Not set: it is not looked at.",
    ),
    Setting::optional(
        "JWT_JWKS_URL",
        SettingKind::Text(issuer::URL),
        "Where the issuer publishes its keys (a JSON Web Key Set).",
    ),
    Setting::optional(
        "JWT_CA_CERT",
        SettingKind::Path,
        "Who may have signed the certificate shown at JWT_JWKS_URL (PEM). Not set: the system's roots.",
    ),
    Setting::optional(
        "JWT_JWKS_PATH",
        SettingKind::Path,
        "Instead: the issuer's key set in a file, read anew when it changes.",
    ),
    Setting::optional(
        "JWT_PEM_PATH",
        SettingKind::Path,
        "Instead: the issuer's public keys or certificates in a file (PEM), read anew when it changes.",
    ),
    Setting::whole(
        "JWT_LEEWAY_SECONDS",
        "30",
        (0, LEEWAY_MAX as u64),
        "seconds",
        "How far the issuer's clock and ours may differ.",
    ),
    Setting::optional("JWT_REQUIRED_CLAIMS", NAMES, "What a token must say besides iss and exp."),
    Setting::with_default(
        "JWT_GROUP_CLAIMS",
        "realm_access.roles,groups",
        NAMES,
        "Where a token names its groups; a dot leads into an object.",
    ),
    Setting::with_default(
        "JWT_SCOPE_CLAIMS",
        "scope",
        NAMES,
        "Where a token names its scopes, as a text or a list.",
    ),
    Setting::optional(
        "JWT_ISSUERS_PATH",
        SettingKind::Path,
        "A list of more issuers: [[issuer]] tables in TOML, or a list in JSON when the name ends in .json. The keys are \
         those of the settings without JWT_, in lower case.",
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
                "it is used only for keys from an https:// URL: leave it out",
            );
        }
        Self { acl_rules_path: reader.path("ACL_RULES_PATH"), issuers }
    }
}
