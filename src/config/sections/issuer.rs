//! One issuer of tokens: how its settings are read, where its keys are, and what a name and a URL
//! may be.
//!
//! It opens no file: whether the keys exist is found by the code that loads them.

use std::path::PathBuf;

use super::names;
use crate::config::load::reader::SettingReader;
use crate::config::setting::SettingRule;

/// One issuer of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerConfig {
    /// `JWT_ISSUER`: a token's `iss` must equal it.
    pub issuer: String,
    /// `JWT_AUDIENCE`: a token's `aud` must name one of them; empty means that it is not checked.
    pub audience: Vec<String>,
    /// The source of its keys.
    pub keys: IssuerKeySource,
    /// `JWT_LEEWAY_SECONDS`.
    pub leeway_seconds: u32,
    /// `JWT_REQUIRED_CLAIMS`, besides `iss` and `exp`.
    pub required_claims: Vec<String>,
    /// `JWT_GROUP_CLAIMS`: the paths of claims that hold groups.
    pub group_claims: Vec<String>,
    /// `JWT_SCOPE_CLAIMS`: the paths of claims that hold scopes.
    pub scope_claims: Vec<String>,
}

/// The source of an issuer's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerKeySource {
    /// Fetched periodically.
    Url {
        /// `JWT_JWKS_URL`.
        url: String,
        /// `JWT_CA_CERT`: the roots trusted for this URL; `None` means the system's roots.
        ca_cert: Option<PathBuf>,
    },
    /// `JWT_JWKS_PATH`: a JSON Web Key Set in a file.
    JwksFile(PathBuf),
    /// `JWT_PEM_PATH`: public keys or certificates in a file.
    PemFile(PathBuf),
}

/// The settings of an issuer before checks. A row of a list takes omitted values from the settings.
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

/// Most seconds of leeway: a clock that is further off is wrong.
pub(super) const LEEWAY_MAX: u32 = 300;

/// The scheme of a URL whose server has a certificate.
const HTTPS: &str = "https://";

/// The rule for the name of an issuer.
pub(super) const NAME: SettingRule = SettingRule {
    allowed: "the iss of the tokens, without spaces",
    holds: |text| !text.contains(char::is_whitespace),
};
/// The rule for the URL of a key set.
pub(super) const URL: SettingRule = SettingRule {
    allowed: "an http:// or https:// URL without user name and fragment",
    holds: is_url,
};
// === impl IssuerConfig ===

impl IssuerConfig {
    /// Whether its keys are fetched over TLS.
    pub(super) fn uses_tls(&self) -> bool {
        matches!(&self.keys, IssuerKeySource::Url { url, .. } if url.starts_with(HTTPS))
    }
}

// === impl UncheckedIssuer ===

impl UncheckedIssuer {
    /// Reads the settings of one issuer, unchecked.
    pub(super) fn read(reader: &mut SettingReader) -> Self {
        let list = |reader: &mut SettingReader, name| {
            names::split(&reader.optional_text(name).unwrap_or_default())
        };
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

    /// Records a conflict for keys or audiences without an issuer.
    pub(super) fn needs_an_issuer(&self, reader: &mut SettingReader) {
        let given = [
            ("JWT_AUDIENCE", !self.audience.is_empty()),
            ("JWT_JWKS_URL", self.jwks_url.is_some()),
            ("JWT_JWKS_PATH", self.jwks_path.is_some()),
            ("JWT_PEM_PATH", self.pem_path.is_some()),
        ];
        for (name, _) in given.iter().filter(|(_, given)| *given) {
            reader.conflict(
                &[name, "JWT_ISSUER"],
                "it belongs to an issuer: set JWT_ISSUER, or remove it",
            );
        }
    }

    /// Returns the issuer if it has exactly one source of keys; else reports the fault to `wrong`.
    pub(super) fn checked(self, wrong: impl FnOnce(&'static str)) -> Option<IssuerConfig> {
        let keys = match (self.jwks_url, self.jwks_path, self.pem_path) {
            (Some(url), None, None) => IssuerKeySource::Url {
                ca_cert: self.ca_cert.filter(|_| url.starts_with(HTTPS)),
                url,
            },
            (None, Some(path), None) => IssuerKeySource::JwksFile(path),
            (None, None, Some(path)) => IssuerKeySource::PemFile(path),
            (None, None, None) => {
                wrong("the issuer has no keys: set its jwks_url, jwks_path or pem_path");
                return None;
            }
            _ => {
                wrong(
                    "the issuer has several sources of keys: keep one of its jwks_url, jwks_path and pem_path",
                );
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

// === impl IssuerKeySource ===

/// Displays the URL or path.
impl std::fmt::Display for IssuerKeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Url { url, .. } => f.write_str(url),
            Self::JwksFile(path) | Self::PemFile(path) => write!(f, "{}", path.display()),
        }
    }
}

// --- private helpers ---

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix(HTTPS).or_else(|| text.strip_prefix("http://"));
    let plain = |rest: &str| {
        rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}@#".contains(&byte))
    };
    rest.is_some_and(|rest| plain(rest) && !rest.starts_with(['/', '?', ':']) && !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_scheme_and_a_host_and_no_password() {
        for good in [
            "https://id.example.org/keys",
            "http://127.0.0.1:8080/realms/a/certs?x=1",
            "http://[::1]/k",
        ] {
            assert!(is_url(good), "{good}");
        }
        for bad in [
            "ftp://a/b",
            "https://",
            "https:///keys",
            "https://u:p@h/",
            "https://h/a b",
            "https://h/#f",
            "h/k",
        ] {
            assert!(!is_url(bad), "{bad}");
        }
    }

    #[test]
    fn an_issuer_has_its_keys_in_one_place() {
        let written = UncheckedIssuer { issuer: "i".into(), ..UncheckedIssuer::default() };
        let mut faults = Vec::new();
        assert_eq!(written.clone().checked(|why| faults.push(why)), None);
        let url = Some("https://h/k".to_owned());
        let both = UncheckedIssuer {
            jwks_url: url.clone(),
            pem_path: Some("p".into()),
            ..written.clone()
        };
        assert_eq!(both.checked(|why| faults.push(why)), None);
        assert!(
            faults[0].contains("has no keys") && faults[1].contains("several sources"),
            "{faults:?}"
        );
        let one = UncheckedIssuer { jwks_url: url, ..written };
        assert_eq!(
            one.checked(|why| panic!("{why}")).unwrap().keys,
            IssuerKeySource::Url { url: "https://h/k".into(), ca_cert: None }
        );
    }
}
