//! The identity of a file from its metadata: whether it is the file that was written, and its
//! owner.
//!
//! It reads and writes no content.

use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use crate::pki::files::PUBLIC;

/// Readable by the group or by all users: a broker that runs as another user may be among them.
const READABLE_BY_OTHERS: u32 = 0o044;

/// The metadata of a file: while it is equal, so is the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    mode: u32,
}

/// The owner of a file and its permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    user: Option<u32>,
    group: Option<u32>,
    /// The permissions.
    pub mode: u32,
}

// === impl FileIdentity ===

impl FileIdentity {
    /// Reads the metadata of `path`. A file that is not regular is an error: reading it may never
    /// end.
    pub fn of(path: &Path) -> io::Result<Self> {
        let found = regular(path)?;
        Ok(Self {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
            mode: found.permissions().mode() & 0o777,
        })
    }

    /// Whether both are one file with one content, perhaps under two names.
    pub fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode, self.bytes, self.modified)
            == (other.device, other.inode, other.bytes, other.modified)
    }

    /// The permissions.
    pub const fn mode(&self) -> u32 {
        self.mode
    }
}

// === impl Owner ===

impl Owner {
    /// The owner of the existing file if other users may read it; else the default owner with a
    /// public mode.
    pub fn found(path: &Path) -> Self {
        let found =
            regular(path).ok().filter(|found| found.permissions().mode() & READABLE_BY_OTHERS != 0);
        found.map_or(Self { user: None, group: None, mode: PUBLIC }, |found| Self {
            user: Some(found.uid()),
            group: Some(found.gid()),
            mode: found.permissions().mode() & 0o777,
        })
    }

    /// Gives `file` to this owner. If the system refuses, all users may read it, because the broker
    /// must. Returns the mode.
    pub fn apply_to(self, file: &File) -> io::Result<u32> {
        let is_given =
            fchown(file, self.user, self.group).is_ok() || fchown(file, None, self.group).is_ok();
        let mode = if is_given { self.mode } else { PUBLIC };
        file.set_permissions(Permissions::from_mode(mode))?;
        Ok(mode)
    }
}

// --- private helpers ---

fn regular(path: &Path) -> io::Result<Metadata> {
    let found = fs::metadata(path)?;
    if found.is_file() {
        Ok(found)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_changes_with_the_file_and_a_narrower_mode_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acl");
        assert_eq!(FileIdentity::of(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(
            FileIdentity::of(dir.path()).unwrap_err().to_string().contains("not a regular file")
        );
        assert_eq!(Owner::found(&path).mode, 0o644);
        fs::write(&path, "a").unwrap();
        let first = FileIdentity::of(&path).unwrap();
        assert_eq!(FileIdentity::of(&path).unwrap(), first);
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert_ne!(FileIdentity::of(&path).unwrap(), first);
        let owner = Owner::found(&path);
        let other = File::create(dir.path().join("other")).unwrap();
        assert_eq!(owner.apply_to(&other).unwrap(), 0o640);
        assert_eq!(other.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(Owner::found(&path).mode, 0o644, "a broker of another user could not read it");
    }
}
