//! Files of keys, certificates and CRLs: read with a bound, made once, replaced whole.
//!
//! It never writes over a file that is there, except by [`replace`], which readers see before or after, never between.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::disk;

/// For the owner alone: private keys.
pub const PRIVATE: u32 = 0o600;
/// For everybody to read: certificates, and CRLs, which the broker reads as another user.
pub const PUBLIC: u32 = 0o644;

/// Reads a file of at most so many bytes; a longer one is not what it is taken for.
pub fn read(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    read_open(&disk::open(path)?, max_bytes)
}

/// The same of a file that is open.
pub(super) fn read_open(file: &File, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it has more than {max_bytes} bytes")));
    }
    Ok(bytes)
}

/// Makes a file with this mode, on the disk when it returns. One that is there already is an error, and stays as it is.
pub fn create(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    create_with(path, mode, |file| file.write_all(bytes))
}

/// Puts a file in the place of whatever is there: written beside it, on the disk, then renamed.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    replace_with(path, mode, |file| file.write_all(bytes), |_| Ok(()))
}

/// The same for what is not held in one piece: `write` fills the file, and `check` sees it before it takes its place.
pub fn replace_with(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> io::Result<()>,
    check: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let beside = name_beside(path)?;
    create_with(&beside, mode, write)?;
    check(&beside).and_then(|()| fs::rename(&beside, path)).inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })?;
    sync_directory(path)
}

// --- private helpers ---

fn create_with(path: &Path, mode: u32, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    fill(&mut file, write, mode).and_then(|()| sync_directory(path)).inspect_err(|_| {
        // Half a file must not stand in the way of the next attempt.
        let _ = fs::remove_file(path);
    })
}

fn fill(file: &mut File, write: impl FnOnce(&mut File) -> io::Result<()>, mode: u32) -> io::Result<()> {
    // The mode given at opening is lessened by the umask; the broker must be able to read what is meant for it.
    file.set_permissions(Permissions::from_mode(mode))?;
    write(file)?;
    file.sync_all()
}

/// A new name in the same directory; random, because several replicas may write to a shared one.
fn name_beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))?;
    let random = getrandom::u64().map_err(io::Error::other)?;
    Ok(path.with_file_name(format!(".{}.{random:016x}", name.to_string_lossy())))
}

/// A rename or a new file is only on the disk when its directory is.
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
        assert_eq!(create(&path, b"second", PUBLIC).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"first".to_vec(), 0o600));
    }

    #[test]
    fn a_replaced_file_leaves_nothing_beside_it() {
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
