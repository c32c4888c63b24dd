//! Files of `sluice cert`: reads requests and certificates from a file or standard input, and
//! creates new files before anything is issued.
//!
//! It overwrites nothing, and fails before issuing when a file cannot be created.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::command::failure::Failure;

/// Stands for standard input, or output.
pub const DASH: &str = "-";

/// A new, empty file; removed on drop unless it was filled.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    file: File,
    is_filled: bool,
}

/// Reads at most `max_bytes` from a file, or from standard input when `path` is `-`.
pub fn read_input(path: &Path, max_bytes: u64) -> Result<Vec<u8>, Failure> {
    // A pipe is fine here, such as `<(openssl req ..)`.
    let read = if path.as_os_str() == DASH {
        read_bounded(io::stdin().lock(), max_bytes)
    } else {
        File::open(path).and_then(|file| read_bounded(file, max_bytes))
    };
    read.map_err(|error| Failure::usage(format!("cannot read {}: {error}", name(path))))
}

// === impl NewFile ===

impl NewFile {
    /// Creates the file. An existing one is an error and stays unchanged.
    pub fn new(path: &Path, mode: u32) -> Result<Self, Failure> {
        let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
        let file = opened.map_err(|error| {
            let advice = match error.kind() {
                io::ErrorKind::AlreadyExists => "name another file, or move the existing one",
                _ => "name a file in a directory that you may write to",
            };
            Failure::usage(format!(
                "cannot create {}: {error}; nothing was issued: {advice}",
                path.display()
            ))
        })?;
        Ok(Self { path: path.to_owned(), file, is_filled: false })
    }

    /// Writes `bytes` and syncs the file to disk.
    pub fn fill(mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.file.sync_all()?;
        self.is_filled = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_filled {
            // A file that cannot be removed is empty or partial, and blocks only its own name.
            let _ = fs::remove_file(&self.path);
        }
    }
}

// --- private helpers ---

fn read_bounded(from: impl Read, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it has more than {max_bytes} bytes"),
        ));
    }
    Ok(bytes)
}

fn name(path: &Path) -> String {
    if path.as_os_str() == DASH { "standard input".to_owned() } else { path.display().to_string() }
}
