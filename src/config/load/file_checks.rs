//! Whether the files that settings name are there and can be read, as far as this user may tell.
//!
//! It opens them and looks at no content. A file the broker or Sluice makes later is not missed: of the CRL only the
//! directory must be there, and a PID file is there only while the broker runs.

use std::fs;
use std::io;
use std::path::Path;

use crate::config::setting::SettingKind;
use crate::config::{Effective, table};
use crate::disk;

/// The setting that names a file to be written.
const WRITTEN: &str = "CRL_OUTPUT_PATH";

/// The setting that names a file which comes and goes with the broker.
const PASSING: &str = "BROKER_PID_FILE";

/// Everything wrong with the files, a sentence each.
pub fn faults(effective: &[Effective]) -> Vec<String> {
    let fault = |row: &Effective| {
        let (name, value) = (row.name, row.value.as_deref()?);
        let path = Path::new(value);
        let (looked, what) = match name {
            WRITTEN => (is_directory(directory_of(path)), "the directory it is to be written to cannot be used"),
            PASSING => return None,
            _ if is_path(name) => (is_readable(path), "the file cannot be read"),
            _ => return None,
        };
        let why = looked.err()?;
        Some(format!(
            "{name} = {value:?} ({}): {what}: {why}; correct the path, or make it and let this user in",
            row.source
        ))
    };
    effective.iter().filter_map(fault).collect()
}

fn is_path(name: &str) -> bool {
    table::find(name).is_some_and(|(_, setting)| matches!(setting.kind, SettingKind::Path))
}

fn is_readable(path: &Path) -> io::Result<()> {
    disk::open(path).map(drop)
}

fn is_directory(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.is_dir() { Ok(()) } else { Err(io::Error::other("it is not a directory")) }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
