//! Files of keys, certificates and CRLs: read up to a bound, created once, replaced atomically.
//!
//! It never overwrites a file, except by [`replace`], of which readers see the old or the new
//! content.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::disk;

/// Readable for the owner only: private keys.
pub const PRIVATE: u32 = 0o600;
/// Readable for all users: certificates, and CRLs, which the broker reads as another user.
pub const PUBLIC: u32 = 0o644;

/// Reads a file of at most `max_bytes` bytes; a longer one is an error.
pub fn read(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    read_open(&disk::open(path)?, max_bytes)
}

/// Like [`read`], of an open file.
pub(super) fn read_open(file: &File, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it has more than {max_bytes} bytes"),
        ));
    }
    Ok(bytes)
}

/// Creates a file with `mode` and syncs it. An existing file is an error and stays unchanged.
pub fn create(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    create_with(path, mode, |file| file.write_all(bytes))
}

/// Replaces a file: writes a temporary one in its directory, syncs it, and renames it.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    replace_with(path, mode, |file| file.write_all(bytes), |_| Ok(()))
}

/// Like [`replace`]; `write` fills the new file, and `check` reads it before the rename.
pub fn replace_with(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> io::Result<()>,
    check: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = temporary_name(path)?;
    create_with(&temporary, mode, write)?;
    check(&temporary).and_then(|()| fs::rename(&temporary, path)).inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })?;
    sync_directory(path)
}

// --- private helpers ---

fn create_with(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    fill(&mut file, write, mode).and_then(|()| sync_directory(path)).inspect_err(|_| {
        // A partial file must not block the next attempt.
        let _ = fs::remove_file(path);
    })
}

fn fill(
    file: &mut File,
    write: impl FnOnce(&mut File) -> io::Result<()>,
    mode: u32,
) -> io::Result<()> {
    // The umask reduces the mode given to open; the broker must be able to read its files.
    file.set_permissions(Permissions::from_mode(mode))?;
    write(file)?;
    file.sync_all()
}

/// A random name in the same directory: replicas may share it.
fn temporary_name(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))?;
    let random = getrandom::u64().map_err(io::Error::other)?;
    Ok(path.with_file_name(format!(".{}.{random:016x}", name.to_string_lossy())))
}

/// Syncs the directory: without it a rename or a new file may be lost.
fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_that_is_there_is_not_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.key");
        create(&path, b"first", PRIVATE).unwrap();
        assert_eq!(
            create(&path, b"second", PUBLIC).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"first".to_vec(), 0o600));
    }

    #[test]
    fn a_replaced_file_leaves_no_temporary_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("crl.pem");
        replace(&path, b"first", PUBLIC).unwrap();
        replace(&path, b"second", PUBLIC).unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"second".to_vec(), 0o644));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        // A directory cannot be replaced by a file: the attempt leaves nothing either.
        fs::create_dir(dir.path().join("taken")).unwrap();
        assert!(replace(&dir.path().join("taken"), b"x", PUBLIC).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_file_too_long_is_not_read_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, [0; 11]).unwrap();
        assert_eq!(read(&path, 11).unwrap().len(), 11);
        assert!(read(&path, 10).unwrap_err().to_string().contains("more than 10 bytes"));
    }
}
