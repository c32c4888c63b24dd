//! Reads the list of issuers, `JWT_ISSUERS_PATH`: TOML or JSON, each row checked, all errors
//! reported.
//!
//! The file holds no secret: the key set and the PEM file of an issuer are public.

use std::path::{Path, PathBuf};

use figment::providers::{Format, Toml};
use serde::Deserialize;
use serde_json::Value;

use super::issuer::{self, IssuerConfig, LEEWAY_MAX, UncheckedIssuer};
use super::names;
use crate::config::load::error::ConfigError;
use crate::config::setting::SettingRule;
use crate::disk;

/// Longest list, in bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// Most issuers: each has a task that refreshes its keys.
const MAX_ISSUERS: usize = 32;

/// One row of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuerRow {
    issuer: String,
    #[serde(default)]
    audience: ListOrText,
    jwks_url: Option<String>,
    ca_cert: Option<PathBuf>,
    jwks_path: Option<PathBuf>,
    pem_path: Option<PathBuf>,
    leeway_seconds: Option<u32>,
    required_claims: Option<ListOrText>,
    group_claims: Option<ListOrText>,
    scope_claims: Option<ListOrText>,
}

/// A list, or one text with commas.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a list of texts, or one text with commas")]
enum ListOrText {
    List(Vec<String>),
    Text(String),
}

/// Adds the issuers of the file to `issuers`; `defaults` replace what a row omits.
pub(super) fn read(
    path: &Path,
    defaults: &UncheckedIssuer,
    issuers: &mut Vec<IssuerConfig>,
    mut wrong: impl FnMut(ConfigError),
) {
    let rows = match rows(path) {
        Ok(rows) => rows,
        Err(error) => return wrong(error),
    };
    for (number, row) in (1..).zip(rows) {
        let mut at_row = |why: String| {
            wrong(ConfigError::InFile {
                path: path.to_owned(),
                place: format!("issuer {number}"),
                why,
            });
        };
        let row = match IssuerRow::deserialize(row) {
            Ok(row) => row,
            Err(error) => {
                at_row(error.to_string());
                continue;
            }
        };
        let twice = issuers.iter().any(|other| other.issuer == row.issuer);
        let faults = row.faults();
        if twice {
            at_row(format!("issuer {:?} is listed twice: keep one of the two", row.issuer));
        }
        let is_sound = faults.is_empty() && !twice;
        faults.into_iter().for_each(&mut at_row);
        let checked = row.over(defaults).checked(|why| at_row(why.to_owned()));
        issuers.extend(checked.filter(|_| is_sound));
    }
}

// === impl IssuerRow ===

impl IssuerRow {
    /// Returns the faults of single values.
    fn faults(&self) -> Vec<String> {
        let keeps = |name: &str, text: &str, rule: &SettingRule| {
            let fine =
                !text.is_empty() && !text.chars().any(char::is_control) && (rule.holds)(text);
            (!fine).then(|| format!("{name} = {text:?}: expected {}", rule.allowed))
        };
        let leeway = self.leeway_seconds.filter(|&leeway| leeway > LEEWAY_MAX);
        [
            keeps("issuer", &self.issuer, &issuer::NAME),
            self.jwks_url.as_ref().and_then(|url| keeps("jwks_url", url, &issuer::URL)),
            leeway
                .map(|leeway| format!("leeway_seconds = {leeway}: expected at most {LEEWAY_MAX}")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn over(self, defaults: &UncheckedIssuer) -> UncheckedIssuer {
        let or = |given: Option<ListOrText>, default: &Vec<String>| {
            given.map_or_else(|| default.clone(), ListOrText::list)
        };
        UncheckedIssuer {
            issuer: self.issuer,
            audience: self.audience.list(),
            jwks_url: self.jwks_url,
            ca_cert: self.ca_cert.or_else(|| defaults.ca_cert.clone()),
            jwks_path: self.jwks_path,
            pem_path: self.pem_path,
            leeway_seconds: self.leeway_seconds.unwrap_or(defaults.leeway_seconds),
            required_claims: or(self.required_claims, &defaults.required_claims),
            group_claims: or(self.group_claims, &defaults.group_claims),
            scope_claims: or(self.scope_claims, &defaults.scope_claims),
        }
    }
}

// === impl ListOrText ===

impl ListOrText {
    fn list(self) -> Vec<String> {
        match self {
            Self::List(list) => list.into_iter().filter(|word| !word.is_empty()).collect(),
            Self::Text(text) => names::split(&text),
        }
    }
}

impl Default for ListOrText {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

// --- private helpers ---

fn rows(path: &Path) -> Result<Vec<Value>, ConfigError> {
    let unreadable =
        |why| ConfigError::Unreadable { path: path.to_owned(), named_by: "JWT_ISSUERS_PATH", why };
    let in_file =
        |place: String, why: String| ConfigError::InFile { path: path.to_owned(), place, why };
    let text = disk::read_text(path, MAX_FILE_BYTES).map_err(unreadable)?;
    let value: Value = if path.extension().is_some_and(|extension| extension == "json") {
        serde_json::from_str(&text)
            .map_err(|error| in_file("JSON".to_owned(), error.to_string()))?
    } else {
        Toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let place = format!("line {}", before.matches('\n').count() + 1);
            in_file(place, format!("not TOML: {}", error.message()))
        })?
    };
    let rows = match value {
        Value::Array(rows) => rows,
        Value::Object(mut tables) if tables.len() == 1 => match tables.remove("issuer") {
            Some(Value::Array(rows)) => rows,
            _ => return Err(in_file("the whole file".to_owned(), SHAPE.to_owned())),
        },
        _ => return Err(in_file("the whole file".to_owned(), SHAPE.to_owned())),
    };
    if rows.is_empty() || rows.len() > MAX_ISSUERS {
        let why = format!("{} issuers: expected 1 to {MAX_ISSUERS}", rows.len());
        return Err(in_file("the whole file".to_owned(), why));
    }
    Ok(rows)
}

const SHAPE: &str = "expected only [[issuer]] tables, or in JSON a list of objects";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sections::issuer::IssuerKeySource;

    fn read_text(name: &str, text: &str) -> (Vec<IssuerConfig>, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        let (mut issuers, mut errors) = (Vec::new(), Vec::new());
        let defaults = UncheckedIssuer {
            leeway_seconds: 30,
            group_claims: vec!["groups".into()],
            ..UncheckedIssuer::default()
        };
        let prefix = format!("{}, ", path.display());
        read(&path, &defaults, &mut issuers, |error| {
            errors.push(error.to_string().replace(&prefix, ""));
        });
        (issuers, errors)
    }

    #[test]
    fn toml_and_json_say_the_same() {
        let toml = "[[issuer]]\nissuer = 'https://a'\naudience = 'x, y'\njwks_url = 'https://a/k'\nca_cert = '/ca'\nleeway_seconds = 5\n\
                    [[issuer]]\nissuer = 'b'\npem_path = '/b.pem'\ngroup_claims = ['r.g']\n";
        let json = r#"[{"issuer": "https://a", "audience": ["x", "y"], "jwks_url": "https://a/k", "ca_cert": "/ca", "leeway_seconds": 5},
                       {"issuer": "b", "pem_path": "/b.pem", "group_claims": "r.g"}]"#;
        let (issuers, errors) = read_text("issuers.toml", toml);
        assert_eq!(errors, [""; 0]);
        assert_eq!(issuers[0].audience, ["x", "y"]);
        assert_eq!((issuers[0].leeway_seconds, issuers[1].leeway_seconds), (5, 30));
        assert_eq!((&*issuers[0].group_claims[0], &*issuers[1].group_claims[0]), ("groups", "r.g"));
        assert_eq!(
            issuers[0].keys,
            IssuerKeySource::Url { url: "https://a/k".into(), ca_cert: Some("/ca".into()) }
        );
        assert_eq!(issuers[1].keys, IssuerKeySource::PemFile("/b.pem".into()));
        assert_eq!(read_text("issuers.json", json), (issuers, Vec::new()));
    }

    #[test]
    fn every_wrong_row_is_reported() {
        let text = "[[issuer]]\nissuer = 'a'\n[[issuer]]\nissuer = 'b b'\njwks_url = 'ftp://x'\nleeway_seconds = 301\n\
                    [[issuer]]\nissuer = 'c'\njwksurl = 'x'\n[[issuer]]\nissuer = 'd'\npem_path = 'p'\n\
                    [[issuer]]\nissuer = 'd'\npem_path = 'p'\n";
        let (issuers, errors) = read_text("issuers.toml", text);
        assert_eq!(issuers.len(), 1);
        for (error, expected) in errors.iter().zip([
            "issuer 1: the issuer has no keys",
            "issuer 2: issuer = \"b b\": expected the iss of the tokens",
            "issuer 2: jwks_url = \"ftp://x\": expected an http:// or https:// URL",
            "issuer 2: leeway_seconds = 301: expected at most 300",
            "issuer 3: unknown field `jwksurl`",
            "issuer 5: issuer \"d\" is listed twice",
        ]) {
            assert!(error.starts_with(expected), "{error}");
        }
        assert_eq!(errors.len(), 6);
    }

    #[test]
    fn what_is_no_list_is_refused_with_the_shape_that_is_expected() {
        for (name, text, expected) in [
            ("a.toml", "issuer = 'x'", "the whole file: expected only [[issuer]]"),
            ("a.toml", "[[issuer]\n", "line 1: not TOML"),
            ("a.json", "{}", "the whole file: expected only [[issuer]]"),
            ("a.json", "[]", "the whole file: 0 issuers"),
            ("a.json", "[", "JSON: EOF"),
        ] {
            let (_, errors) = read_text(name, text);
            assert!(errors[0].starts_with(expected), "{errors:?}");
        }
    }
}
