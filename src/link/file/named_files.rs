//! Checks that the files which the links name exist, can be read by this user, and are closed to
//! others where they hold a secret.
//!
//! It reads no content. The daemon reads these files at each connect, so it starts without them.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::config::document::tree::DocumentFault;
use crate::disk;
use crate::link::settings::{LinkAuth, LinkSet, LinkSettings};

/// Permissions of others than the owner.
const OTHERS: u32 = 0o077;

/// A file that a key of a link names.
struct NamedFile<'s> {
    key: &'static str,
    path: &'s Path,
    is_secret: bool,
}

/// Why a named file cannot be used.
#[derive(Debug, thiserror::Error)]
enum NamedFileFault {
    #[error("cannot read the file: {0}; fix the path, or create it and give this user access")]
    Unreadable(#[from] io::Error),
    #[error("other users may read or change the file (mode {0:04o}): run chmod 0600 on it")]
    TooOpen(u32),
    #[error("the file is empty: write it again")]
    Empty,
}

/// Returns all faults of the files.
pub fn faults(set: &LinkSet) -> Vec<DocumentFault> {
    let of_link = |link: &LinkSettings| {
        let files = named_by(link).into_iter();
        let faults = files.filter_map(|file| {
            let error = check(&file).err()?;
            let place = format!("link.{}.{}", link.name, file.key);
            Some(DocumentFault { place, why: format!("{}: {error}", file.path.display()) })
        });
        faults.collect::<Vec<_>>()
    };
    set.links.iter().flat_map(of_link).collect()
}

// --- private helpers ---

fn named_by(link: &LinkSettings) -> Vec<NamedFile<'_>> {
    let open = |key, path| NamedFile { key, path, is_secret: false };
    let secret = |key, path| NamedFile { key, path, is_secret: true };
    let mut files = Vec::new();
    files.extend(link.ca_cert.as_deref().map(|path| open("ca_cert", path)));
    match &link.auth {
        LinkAuth::Password { password_file, .. } => {
            files.push(secret("password_file", password_file));
        }
        LinkAuth::Jwt { token, .. } => files.push(secret("key", &token.key)),
        LinkAuth::Certificate { cert, key, .. } => {
            files.extend([open("cert", cert), secret("key", key)]);
        }
        LinkAuth::SigV4 { credentials: Some(profile), .. } => {
            files.push(secret("credentials_file", &profile.path));
        }
        LinkAuth::Anonymous
        | LinkAuth::SigV4 { credentials: None, .. }
        | LinkAuth::Cognito { .. } => {}
    }
    files
}

fn check(named: &NamedFile<'_>) -> Result<(), NamedFileFault> {
    let file = disk::open(named.path)?;
    // The open file, not the path, which may name another file by now.
    let facts = file.metadata()?;
    let mode = facts.permissions().mode() & 0o777;
    if named.is_secret && mode & OTHERS != 0 {
        return Err(NamedFileFault::TooOpen(mode));
    }
    if facts.len() == 0 { Err(NamedFileFault::Empty) } else { Ok(()) }
}
