//! Credentials from a section of the file that AWS' tools write (`~/.aws/credentials`).
//!
//! It reads the file for each connection, so new keys need no restart. It runs no program and
//! assumes no role: a section that wants this is refused with the key that wants it.

use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use chrono::DateTime;

use crate::config::secret::Secret;
use crate::disk::{self, Unreachable};
use crate::domain::time::Timestamp;
use crate::link::aws::signing_keys::AwsCredentials;
use crate::link::settings::AwsProfile;

/// Longest file: hundreds of sections.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// Permission bits that others than the owner must not have.
const OTHERS: u32 = 0o077;

/// Keys for which AWS' tools run a program, ask a server or assume a role.
const UNSUPPORTED: [&str; 7] = [
    "credential_process",
    "credential_source",
    "role_arn",
    "source_profile",
    "sso_session",
    "sso_start_url",
    "web_identity_token_file",
];

/// Keys under which tools write the end of temporary credentials, in RFC 3339.
const EXPIRY_KEYS: [&str; 4] =
    ["expiration", "aws_expiration", "aws_credential_expiration", "x_security_token_expires"];

/// Why a file gives no credentials.
#[derive(Debug, thiserror::Error)]
pub enum AwsProfileError {
    /// The file cannot be read.
    #[error("credentials_file ({path}) cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file system does not answer.
    #[error("credentials_file cannot be read: {0}")]
    Unreachable(#[from] Unreachable),
    /// Others than the owner may read or write the file.
    #[error(
        "credentials_file ({path}) has mode {mode:04o}, so other users can access it: run `chmod 600 {path}`"
    )]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The section is missing.
    #[error("credentials_file ({path}) has no section [{profile}]; it has {sections}")]
    NoSection {
        /// The file.
        path: PathBuf,
        /// The section.
        profile: String,
        /// The sections that are there.
        sections: String,
    },
    /// The section lacks a key.
    #[error("section [{profile}] of credentials_file ({path}) has no {key}")]
    NoKey {
        /// The file.
        path: PathBuf,
        /// The section.
        profile: String,
        /// The key.
        key: &'static str,
    },
    /// The section wants what Sluice does not do.
    #[error(
        "section [{profile}] of credentials_file ({path}) has {key}, which Sluice does not support: \
         it needs aws_access_key_id and aws_secret_access_key"
    )]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The section.
        profile: String,
        /// The key.
        key: &'static str,
    },
}

/// Reads the credentials of a section.
pub async fn read(wanted: &AwsProfile, now: Timestamp) -> Result<AwsCredentials, AwsProfileError> {
    let path = wanted.path.clone();
    let text = disk::run(&wanted.path, move || read_private(&path)).await??;
    find(&text, wanted, now)
}

// --- private helpers ---

fn read_private(path: &Path) -> Result<String, AwsProfileError> {
    let failed = |source| AwsProfileError::Read { path: path.to_owned(), source };
    let file = disk::open(path).map_err(failed)?;
    // Checks the open file, not the path, which may name another file by the time it is read.
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(AwsProfileError::TooOpen { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    let size = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if size as u64 > MAX_FILE_BYTES {
        let why = format!("longer than {MAX_FILE_BYTES} bytes");
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, why)));
    }
    Ok(text)
}

fn find(
    text: &str,
    wanted: &AwsProfile,
    now: Timestamp,
) -> Result<AwsCredentials, AwsProfileError> {
    let AwsProfile { path, profile } = wanted;
    if !sections(text).any(|section| section == profile) {
        let sections: Vec<_> = sections(text).map(|section| format!("[{section}]")).collect();
        let sections =
            if sections.is_empty() { "no section".to_owned() } else { sections.join(", ") };
        let (path, profile) = (path.clone(), profile.clone());
        return Err(AwsProfileError::NoSection { path, profile, sections });
    }
    let value = |key: &str| entries(text, profile).filter(|(name, _)| *name == key).last();
    let required = |key: &'static str| {
        let found = value(key).map(|(_, value)| value).filter(|value| !value.is_empty());
        let wants = UNSUPPORTED.into_iter().find(|key| value(key).is_some());
        found.ok_or_else(|| match (path.clone(), profile.clone(), wants) {
            (path, profile, Some(key)) => AwsProfileError::Unsupported { path, profile, key },
            (path, profile, None) => AwsProfileError::NoKey { path, profile, key },
        })
    };
    let expires = EXPIRY_KEYS.into_iter().find_map(value);
    let expires = expires.and_then(|(_, text)| DateTime::parse_from_rfc3339(text).ok());
    Ok(AwsCredentials {
        access_key_id: required("aws_access_key_id")?.to_owned(),
        secret: Secret::new(required("aws_secret_access_key")?.to_owned()),
        // Tools write the line without a token for lasting keys.
        session_token: value("aws_session_token")
            .filter(|(_, token)| !token.is_empty())
            .map(|(_, token)| Secret::new(token.to_owned())),
        obtained: now,
        expires: expires.map(|time| time.to_utc().into()),
    })
}

/// The name in a line such as `[default]` or `[profile work]`.
fn section_of(line: &str) -> Option<&str> {
    let name = line.trim().strip_prefix('[')?.strip_suffix(']')?.trim();
    Some(name.strip_prefix("profile ").map_or(name, str::trim))
}

fn sections(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(section_of)
}

/// Keys and values of all parts of the file that have this section's name.
fn entries<'a>(text: &'a str, profile: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let mut is_inside = false;
    text.lines().filter_map(move |line| {
        if let Some(section) = section_of(line) {
            is_inside = section == profile;
        }
        // An indented line belongs to the key before it: a nested table of AWS' configuration.
        let is_entry = is_inside && !line.starts_with([' ', '\t', '#', ';', '[']);
        let (name, value) = line.split_once('=').filter(|_| is_entry)?;
        Some((name.trim(), value.trim()))
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    const FILE: &str = "# written by hand\n[default]\naws_access_key_id = AKIA1\n\
        aws_secret_access_key=a/b=c\n\n[profile work]\n; temporary\naws_access_key_id = ASIA2\n\
        aws_secret_access_key = two\naws_session_token = tok==\nexpiration = 2026-11-28T12:00:00Z\n\
        s3 =\n  aws_access_key_id = nested\n[role]\nrole_arn = arn:aws:iam::1:role/x\n\
        source_profile = default\n[half]\naws_access_key_id = AKIA3\n\
        [lasting]\naws_access_key_id = AKIA4\naws_secret_access_key = four\naws_session_token =\n";
    const NOW: Timestamp = Timestamp::from_micros(0);

    fn found(profile: &str) -> Result<AwsCredentials, AwsProfileError> {
        find(FILE, &AwsProfile { path: "/aws".into(), profile: profile.to_owned() }, NOW)
    }

    #[test]
    fn a_section_has_keys_and_perhaps_a_token_and_an_end() {
        let default = found("default").unwrap();
        assert_eq!(default.access_key_id, "AKIA1");
        assert_eq!(default.secret.expose(), "a/b=c");
        assert!(default.session_token.is_none() && default.expires.is_none());
        assert!(found("lasting").unwrap().session_token.is_none());

        let work = found("work").unwrap();
        assert_eq!((work.access_key_id.as_str(), work.secret.expose()), ("ASIA2", "two"));
        assert_eq!(work.session_token.unwrap().expose(), "tok==");
        assert_eq!(work.expires.unwrap().to_string(), "2026-11-28T12:00:00.000000Z");
    }

    #[test]
    fn a_section_that_cannot_be_used_says_why() {
        let why = |profile| found(profile).unwrap_err().to_string();
        let sections = "it has [default], [work], [role], [half], [lasting]";
        assert_eq!(why("x"), format!("credentials_file (/aws) has no section [x]; {sections}"));
        assert!(why("role").contains("has role_arn, which Sluice does not support"));
        assert!(why("half").ends_with("has no aws_secret_access_key"));
    }

    #[tokio::test]
    async fn a_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = AwsProfile { path: dir.path().join("aws"), profile: "default".into() };
        assert!(matches!(read(&wanted, NOW).await, Err(AwsProfileError::Read { .. })));
        fs::write(&wanted.path, FILE).unwrap();
        fs::set_permissions(&wanted.path, Permissions::from_mode(0o640)).unwrap();
        let why = read(&wanted, NOW).await.unwrap_err().to_string();
        assert!(why.contains("has mode 0640") && why.contains("chmod 600"), "{why}");
        fs::set_permissions(&wanted.path, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read(&wanted, NOW).await.unwrap().access_key_id, "AKIA1");
        fs::write(&wanted.path, "x".repeat(300_000)).unwrap();
        let why = read(&wanted, NOW).await.unwrap_err().to_string();
        assert!(why.contains("longer than 262144 bytes"), "{why}");
    }
}
