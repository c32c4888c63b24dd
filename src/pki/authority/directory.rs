//! A directory of authorities, such as those of the cells: a pair of files for each, `NAME.crt` and
//! `NAME.key`.
//!
//! Nothing is kept between two calls, so a file that was replaced acts at once. Files with other
//! endings, and files whose names begin with a dot, are ignored. It creates and changes no file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::end::AuthorityEnd;
use super::error::AuthorityError;
use super::{Authority, AuthorityCertificate, MAX_CHAIN_BYTES, check_kind, check_powers};
use crate::domain::time::Timestamp;
use crate::pki::certificate::Certificate;
use crate::pki::files;

/// The setting that names the directory.
pub const SETTING: &str = "CELL_AUTHORITIES_DIR";

/// Most pairs: each renewal reads the certificate of each.
pub const MAX_PAIRS: usize = 256;

/// Longest name of a pair.
const MAX_NAME_LEN: usize = 64;

/// The name of a pair: what its two files are called, without the ending.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PairName(String);

/// The two files of an authority.
#[derive(Clone, Debug)]
pub struct AuthorityPair {
    /// Its name.
    pub name: PairName,
    /// `NAME.crt`.
    pub certificate: PathBuf,
    /// `NAME.key`.
    pub key: PathBuf,
}

/// Why the directory, or a pair in it, cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{SETTING}: {path} cannot be used: {why}", path = .path.display())]
pub struct DirectoryError {
    /// The directory, or a file in it.
    pub path: PathBuf,
    /// Why.
    pub why: String,
}

/// The pairs in `directory`, by name; one of the two files may be missing. Blocks, as everything
/// here.
pub fn pairs(directory: &Path) -> Result<Vec<AuthorityPair>, DirectoryError> {
    let mut names = BTreeSet::new();
    let entries = std::fs::read_dir(directory).map_err(|error| refused(directory, &error))?;
    for entry in entries {
        let path = entry.map_err(|error| refused(directory, &error))?.path();
        let Some(stem) = stem_of(&path) else { continue };
        names.insert(stem.parse().map_err(|why: &str| refused(&path, why))?);
        if names.len() > MAX_PAIRS {
            return Err(refused(directory, &format!("it has more than {MAX_PAIRS} authorities")));
        }
    }
    Ok(names.into_iter().map(|name| AuthorityPair::of(directory, name)).collect())
}

/// The pair whose certificate has this subject. While a certificate in the directory cannot be read,
/// the answer is never that there is none.
pub fn find(directory: &Path, subject: &str) -> Result<Option<AuthorityPair>, DirectoryError> {
    let (mut found, mut unreadable): (Option<AuthorityPair>, _) = (None, None);
    for pair in pairs(directory)? {
        match pair.own_certificate() {
            Ok(own) if own.subject() != subject => {}
            Ok(_) => {
                let path = pair.certificate.clone();
                if let Some(first) = found.replace(pair) {
                    return Err(same_subject(&path, &first.certificate, subject));
                }
            }
            Err(error) => unreadable = Some(error),
        }
    }
    match (found, unreadable) {
        (None, Some(error)) => Err(error),
        (found, _) => Ok(found),
    }
}

/// The pair of this name, if it is there.
pub fn named(directory: &Path, name: &PairName) -> Result<Option<AuthorityPair>, DirectoryError> {
    Ok(pairs(directory)?.into_iter().find(|pair| pair.name == *name))
}

/// The end of each authority, by name, and what is wrong with one that cannot sign. Two of one
/// subject cannot, and neither can one with the subject `own`.
pub fn ends(
    directory: &Path,
    own: Option<&str>,
    now: Timestamp,
) -> Result<Vec<(PairName, AuthorityEnd)>, DirectoryError> {
    let judged = judge(directory, own, now)?.into_iter();
    Ok(judged
        .map(|(pair, verdict)| match verdict {
            Ok(()) => (pair.name, AuthorityEnd::of_file(&pair.certificate, now)),
            Err(error) => (pair.name, AuthorityEnd::Unknown(error.to_string())),
        })
        .collect())
}

/// Refuses a directory with files that cannot sign at any time. An authority that has ended is no
/// such fault: those of other cells sign on.
pub fn check(directory: &Path, own: Option<&str>, now: Timestamp) -> Result<(), DirectoryError> {
    judge(directory, own, now)?.into_iter().try_for_each(|(_, verdict)| verdict)
}

// === impl PairName ===

impl PairName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PairName {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let begins_well = name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
        if !begins_well || name.len() > MAX_NAME_LEN || !name.bytes().all(allowed) {
            return Err(
                "the name of an authority's files has 1 to 64 letters, digits, dots, hyphens and \
                 underscores, and begins with a letter or a digit",
            );
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for PairName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl AuthorityPair ===

impl AuthorityPair {
    fn of(directory: &Path, name: PairName) -> Self {
        let (certificate, key) =
            (directory.join(format!("{name}.crt")), directory.join(format!("{name}.key")));
        Self { name, certificate, key }
    }

    /// Reads both files: the authority that signs.
    pub fn open(&self, now: Timestamp) -> Result<Authority, AuthorityError> {
        Authority::open(&self.certificate, &self.key, now)
    }

    /// Reads the certificate and its chain.
    pub fn open_certificate(&self, now: Timestamp) -> Result<AuthorityCertificate, AuthorityError> {
        AuthorityCertificate::open(&self.certificate, now)
    }

    /// Its own certificate, which has the powers of an authority, whatever its dates.
    pub fn own_certificate(&self) -> Result<Certificate, DirectoryError> {
        let text = files::read(&self.certificate, MAX_CHAIN_BYTES)
            .map_err(|error| refused(&self.certificate, &error))?;
        let own =
            Certificate::from_pem(&text).map_err(|error| refused(&self.certificate, &error))?;
        check_powers(&own)
            .and_then(|()| check_kind(&own))
            .map_err(|error| refused(&self.certificate, &error))?;
        Ok(own)
    }

    /// Checks both files and not their dates.
    fn check(&self, now: Timestamp) -> Result<(), DirectoryError> {
        match self.open(now) {
            Ok(_) | Err(AuthorityError::NotNow { .. }) => Ok(()),
            Err(error @ AuthorityError::Key(_)) => Err(refused(&self.key, &error)),
            Err(error) => Err(refused(&self.certificate, &error)),
        }
    }
}

// --- private helpers ---

type Verdict = Result<(), DirectoryError>;

fn judge(
    directory: &Path,
    own: Option<&str>,
    now: Timestamp,
) -> Result<Vec<(AuthorityPair, Verdict)>, DirectoryError> {
    let own = own.map(|own| (own.to_owned(), PathBuf::from("DEVICE_CA_CERT_PATH")));
    let mut subjects: BTreeMap<String, PathBuf> = own.into_iter().collect();
    let mut judge_one = |pair: &AuthorityPair| {
        let subject = pair.own_certificate()?.subject().to_owned();
        match subjects.insert(subject.clone(), pair.certificate.clone()) {
            Some(other) => Err(same_subject(&pair.certificate, &other, &subject)),
            None => pair.check(now),
        }
    };
    let judged = pairs(directory)?.into_iter().map(|pair| {
        let verdict = judge_one(&pair);
        (pair, verdict)
    });
    Ok(judged.collect())
}

/// The name before `.crt` or `.key`.
fn stem_of(path: &Path) -> Option<&str> {
    let file = path.file_name()?.to_str()?;
    let stem = file.strip_suffix(".crt").or_else(|| file.strip_suffix(".key"))?;
    (!stem.starts_with('.')).then_some(stem)
}

fn same_subject(path: &Path, other: &Path, subject: &str) -> DirectoryError {
    refused(path, &format!("{} has the same subject, {subject}", other.display()))
}

fn refused(path: &Path, why: &(impl ToString + ?Sized)) -> DirectoryError {
    DirectoryError { path: path.to_owned(), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::pki::authority::create::found_root;
    use crate::pki::authority::intermediate::issue;
    use crate::pki::test_samples::{DAY, now};

    /// Writes the pair `name` of an authority with this subject.
    fn write(dir: &Path, name: &str, subject: &str) {
        let (root, _) = found_root(&"Root".parse().unwrap(), 30, now()).unwrap();
        let (cell, key) = issue(&root, &subject.parse().unwrap(), 30, now()).unwrap();
        fs::write(dir.join(format!("{name}.crt")), cell.certificate().bundle_pem()).unwrap();
        let path = dir.join(format!("{name}.key"));
        let _ = fs::remove_file(&path);
        fs::write(&path, key.expose()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn fault(dir: &Path, own: Option<&str>) -> String {
        check(dir, own, now()).unwrap_err().to_string()
    }

    #[test]
    fn an_authority_is_found_by_its_subject_and_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        write(dir, "north", "Cell north");
        write(dir, "south", "Cell south");
        fs::write(dir.join("north-crl.pem"), "ignored").unwrap();
        fs::write(dir.join(".hidden.crt"), "ignored").unwrap();
        check(dir, Some("CN=Own"), now()).unwrap();
        let found = find(dir, "CN=Cell south").unwrap().unwrap();
        assert_eq!(found.name.as_str(), "south");
        assert_eq!(found.open(now()).unwrap().certificate().name(), "CN=Cell south");
        assert!(find(dir, "CN=Cell west").unwrap().is_none());
        assert!(named(dir, &"north".parse().unwrap()).unwrap().is_some());
        assert!(named(dir, &"west".parse().unwrap()).unwrap().is_none());
    }

    #[test]
    fn what_cannot_sign_is_refused_and_its_file_is_named() {
        let made = tempfile::tempdir().unwrap();
        let dir = made.path();
        write(dir, "north", "Cell north");
        assert!(fault(dir, Some("CN=Cell north")).contains("DEVICE_CA_CERT_PATH has the same"));
        write(dir, "other", "Cell north");
        assert!(
            fault(dir, None).contains("other.crt") && fault(dir, None).contains("same subject")
        );
        assert!(find(dir, "CN=Cell north").unwrap_err().to_string().contains("same subject"));
        write(dir, "other", "Cell other");
        fs::copy(dir.join("north.key"), dir.join("other.key")).unwrap();
        assert!(fault(dir, None).contains("made together"), "{}", fault(dir, None));
        fs::remove_file(dir.join("other.key")).unwrap();
        assert!(fault(dir, None).contains("other.key cannot be used"), "{}", fault(dir, None));
        // A pair that is being copied holds up no other.
        assert!(find(dir, "CN=Cell north").unwrap().is_some());
        fs::rename(dir.join("other.crt"), dir.join("west.key")).unwrap();
        assert!(fault(dir, None).contains("west.crt cannot be used"));
        fs::remove_file(dir.join("west.key")).unwrap();
        write(dir, "east", "Cell east");
        fs::set_permissions(dir.join("east.key"), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(fault(dir, None).contains("chmod 600"), "{}", fault(dir, None));
        fs::write(dir.join("east.crt"), "nothing").unwrap();
        assert!(fault(dir, None).contains("east.crt cannot be used"));
        // It may be the one that is looked for.
        assert!(find(dir, "CN=Cell east").unwrap_err().to_string().contains("east.crt"));
        assert!(find(dir, "CN=Cell north").unwrap().is_some());
        assert!(check(&dir.join("none"), None, now()).is_err());
        for name in ["", "-a", "a/b", "a b", &"a".repeat(65)] {
            assert!(name.parse::<PairName>().is_err(), "{name}");
        }
    }

    #[test]
    fn an_authority_that_ended_stops_no_other() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "north", "Cell north");
        let later = now().plus_seconds(40 * DAY);
        check(dir.path(), None, later).unwrap();
        let ends = ends(dir.path(), None, later).unwrap();
        assert!(matches!(ends[0].1, AuthorityEnd::Past(..)), "{ends:?}");
        let found = find(dir.path(), "CN=Cell north").unwrap().unwrap();
        assert!(found.open(later).is_err());
    }
}
