//! What is answered at the broker's door: where the policy is, who may issue tokens, and where an issuer's keys are found.
//!
//! It reads the list of issuers but none of their keys: whether those are there is seen by the wing that keeps them.

use std::path::PathBuf;

use super::issuers;
use crate::config::load::reader::SettingReader;
use crate::config::setting::{Setting, SettingKind, SettingRule};

/// The settings of the broker's door.
#[derive(Clone, Debug)]
pub struct AccessConfig {
    /// `ACL_RULES_PATH`.
    pub acl_rules_path: Option<PathBuf>,
    /// Whose tokens are taken; empty: nobody's.
    pub issuers: Vec<IssuerConfig>,
}

/// One issuer of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerConfig {
    /// `JWT_ISSUER`: what a token's `iss` must be, character by character.
    pub issuer: String,
    /// `JWT_AUDIENCE`: a token's `aud` must name one of them; empty: it is not looked at.
    pub audience: Vec<String>,
    /// Where its keys are.
    pub keys: IssuerKeySource,
    /// `JWT_LEEWAY_SECONDS`.
    pub leeway_seconds: u32,
    /// `JWT_REQUIRED_CLAIMS`, besides `iss` and `exp`.
    pub required_claims: Vec<String>,
    /// `JWT_GROUP_CLAIMS`: the paths at which groups are found.
    pub group_claims: Vec<String>,
    /// `JWT_SCOPE_CLAIMS`: the paths at which scopes are found.
    pub scope_claims: Vec<String>,
}

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerKeySource {
    /// Fetched, again and again.
    Url {
        /// `JWT_JWKS_URL`.
        url: String,
        /// `JWT_CA_CERT`: who may have signed the certificate shown there; none: the system's roots.
        ca_cert: Option<PathBuf>,
    },
    /// `JWT_JWKS_PATH`: a JSON Web Key Set in a file.
    JwksFile(PathBuf),
    /// `JWT_PEM_PATH`: public keys or certificates in a file.
    PemFile(PathBuf),
}

/// What is written of an issuer before it is checked; what a list leaves out stands as the settings say.
#[derive(Clone, Debug, Default)]
pub(super) struct UncheckedIssuer {
    pub issuer: String,
    pub audience: Vec<String>,
    pub jwks_url: Option<String>,
    pub ca_cert: Option<PathBuf>,
    pub jwks_path: Option<PathBuf>,
    pub pem_path: Option<PathBuf>,
    pub leeway_seconds: u32,
    pub required_claims: Vec<String>,
    pub group_claims: Vec<String>,
    pub scope_claims: Vec<String>,
}

/// A clock that is further off than this is wrong, not late.
pub(super) const LEEWAY_MAX: u32 = 300;

/// What a URL begins with whose server shows a certificate.
const HTTPS: &str = "https://";

/// What an issuer is called.
pub(super) const ISSUER: SettingRule = SettingRule {
    allowed: "what the tokens' iss says, without spaces",
    holds: |text| !text.contains(char::is_whitespace),
};
/// Where a key set is fetched.
pub(super) const URL: SettingRule =
    SettingRule { allowed: "an http:// or https:// URL without user name and fragment", holds: is_url };
const WORDS: SettingKind = SettingKind::Text(SettingRule { allowed: "names separated by commas", holds: is_list });

/// The rows of the table.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting::optional(
        "ACL_RULES_PATH",
        SettingKind::Path,
        "The policy: who may do what with which topics (JSON or TOML). Not set: only what is built in.",
    ),
    Setting::optional(
        "JWT_ISSUER",
        SettingKind::Text(ISSUER),
        "Whose tokens are taken at the broker's door. Not set: nobody's, unless JWT_ISSUERS_PATH names some.",
    ),
    Setting::optional(
        "JWT_AUDIENCE",
        WORDS,
        "Whom a token must be meant for: its aud names one of these. Not set: it is not looked at.",
    ),
    Setting::optional(
        "JWT_JWKS_URL",
        SettingKind::Text(URL),
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
    Setting::optional("JWT_REQUIRED_CLAIMS", WORDS, "What a token must say besides iss and exp."),
    Setting::with_default(
        "JWT_GROUP_CLAIMS",
        "realm_access.roles,groups",
        WORDS,
        "Where a token names its groups; a dot leads into an object.",
    ),
    Setting::with_default("JWT_SCOPE_CLAIMS", "scope", WORDS, "Where a token names its scopes, as a text or a list."),
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
        let written = UncheckedIssuer::read(reader);
        let mut issuers = Vec::new();
        if written.issuer.is_empty() {
            written.needs_an_issuer(reader);
        } else if let Some(issuer) = written.clone().checked(|why| reader.conflict(&["JWT_ISSUER"], why)) {
            issuers.push(issuer);
        }
        if let Some(path) = reader.path("JWT_ISSUERS_PATH") {
            issuers::read(&path, &written, &mut issuers, |error| reader.wrong(error));
        }
        if written.ca_cert.is_some() && !issuers.iter().any(IssuerConfig::uses_tls) {
            reader.conflict(&["JWT_CA_CERT"], "it is used only for keys from an https:// URL: leave it out");
        }
        Self { acl_rules_path: reader.path("ACL_RULES_PATH"), issuers }
    }
}

// === impl IssuerConfig ===

impl IssuerConfig {
    fn uses_tls(&self) -> bool {
        matches!(&self.keys, IssuerKeySource::Url { url, .. } if url.starts_with(HTTPS))
    }
}

// === impl Written ===

impl UncheckedIssuer {
    fn read(reader: &mut SettingReader) -> Self {
        let list = |reader: &mut SettingReader, name| words(&reader.optional_text(name).unwrap_or_default());
        Self {
            issuer: reader.text("JWT_ISSUER"),
            audience: list(reader, "JWT_AUDIENCE"),
            jwks_url: reader.optional_text("JWT_JWKS_URL"),
            ca_cert: reader.path("JWT_CA_CERT"),
            jwks_path: reader.path("JWT_JWKS_PATH"),
            pem_path: reader.path("JWT_PEM_PATH"),
            leeway_seconds: reader.whole("JWT_LEEWAY_SECONDS"),
            required_claims: list(reader, "JWT_REQUIRED_CLAIMS"),
            group_claims: list(reader, "JWT_GROUP_CLAIMS"),
            scope_claims: list(reader, "JWT_SCOPE_CLAIMS"),
        }
    }

    /// Keys and audiences are an issuer's.
    fn needs_an_issuer(&self, reader: &mut SettingReader) {
        let given = [
            ("JWT_AUDIENCE", !self.audience.is_empty()),
            ("JWT_JWKS_URL", self.jwks_url.is_some()),
            ("JWT_JWKS_PATH", self.jwks_path.is_some()),
            ("JWT_PEM_PATH", self.pem_path.is_some()),
        ];
        for (name, _) in given.iter().filter(|(_, given)| *given) {
            reader.conflict(&[name, "JWT_ISSUER"], "it belongs to an issuer: set JWT_ISSUER, or leave it out");
        }
    }

    /// The issuer, when it has exactly one place for its keys; else `wrong` hears why not.
    pub(super) fn checked(self, wrong: impl FnOnce(&'static str)) -> Option<IssuerConfig> {
        let keys = match (self.jwks_url, self.jwks_path, self.pem_path) {
            (Some(url), None, None) => {
                IssuerKeySource::Url { ca_cert: self.ca_cert.filter(|_| url.starts_with(HTTPS)), url }
            }
            (None, Some(path), None) => IssuerKeySource::JwksFile(path),
            (None, None, Some(path)) => IssuerKeySource::PemFile(path),
            (None, None, None) => {
                wrong("its keys must be found somewhere: set its jwks_url, its jwks_path or its pem_path");
                return None;
            }
            _ => {
                wrong("its keys are in one place: keep one of its jwks_url, jwks_path and pem_path");
                return None;
            }
        };
        Some(IssuerConfig {
            issuer: self.issuer,
            audience: self.audience,
            keys,
            leeway_seconds: self.leeway_seconds,
            required_claims: self.required_claims,
            group_claims: self.group_claims,
            scope_claims: self.scope_claims,
        })
    }
}

// === impl KeySource ===

/// As it is told to a person.
impl std::fmt::Display for IssuerKeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Url { url, .. } => f.write_str(url),
            Self::JwksFile(path) | Self::PemFile(path) => write!(f, "{}", path.display()),
        }
    }
}

// --- private helpers ---

/// The names of a list.
pub(super) fn words(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Whether a text is a list of names.
pub(super) fn is_list(text: &str) -> bool {
    text.split(',').all(|word| !word.trim().is_empty())
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix(HTTPS).or_else(|| text.strip_prefix("http://"));
    let plain = |rest: &str| rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}@#".contains(&byte));
    rest.is_some_and(|rest| plain(rest) && !rest.starts_with(['/', '?', ':']) && !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_scheme_and_a_host_and_no_password() {
        for good in ["https://id.example.org/keys", "http://127.0.0.1:8080/realms/a/certs?x=1", "http://[::1]/k"] {
            assert!(is_url(good), "{good}");
        }
        for bad in ["ftp://a/b", "https://", "https:///keys", "https://u:p@h/", "https://h/a b", "https://h/#f", "h/k"]
        {
            assert!(!is_url(bad), "{bad}");
        }
    }

    #[test]
    fn an_issuer_has_its_keys_in_one_place() {
        let written = UncheckedIssuer { issuer: "i".into(), ..UncheckedIssuer::default() };
        let mut said = Vec::new();
        assert_eq!(written.clone().checked(|why| said.push(why)), None);
        let url = Some("https://h/k".to_owned());
        let both = UncheckedIssuer { jwks_url: url.clone(), pem_path: Some("p".into()), ..written.clone() };
        assert_eq!(both.checked(|why| said.push(why)), None);
        assert!(said[0].contains("somewhere") && said[1].contains("one place"), "{said:?}");
        let one = UncheckedIssuer { jwks_url: url, ..written };
        assert_eq!(
            one.checked(|why| panic!("{why}")).unwrap().keys,
            IssuerKeySource::Url { url: "https://h/k".into(), ca_cert: None }
        );
    }
}
