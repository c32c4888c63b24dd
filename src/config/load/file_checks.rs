//! Checks that the files named by settings exist and can be read by this user.
//!
//! It opens them and reads no content. A file that is written later may be missing: of the CRL only
//! and of a socket the directory must exist, and a PID file exists only while the broker runs.

use std::fs;
use std::io;
use std::path::Path;

use super::effective::Effective;
use crate::config::setting::SettingKind;
use crate::config::table;
use crate::disk;

/// The setting that names an output file.
const OUTPUT: &str = "CRL_OUTPUT_PATH";

/// The setting that names a socket, which exists only while the daemon runs.
const SOCKET: &str = "PLUGIN_SOCKET";

/// The setting that names a file which exists only while the broker runs.
const TRANSIENT: &str = "BROKER_PID_FILE";

/// The setting that names a directory.
const DIRECTORY: &str = "CELL_AUTHORITIES_DIR";

/// Returns all faults of the files, one sentence each.
pub fn faults(effective: &[Effective]) -> Vec<String> {
    let fault = |row: &Effective| {
        let (name, value) = (row.name, row.value.as_deref()?);
        let path = Path::new(value);
        let (result, what) = match name {
            OUTPUT | SOCKET => {
                (is_directory(directory_of(path)), "cannot use the directory of this file")
            }
            TRANSIENT => return None,
            DIRECTORY => (is_directory(path), "cannot use this directory"),
            _ if is_path(name) => (is_readable(path), "cannot read the file"),
            _ => return None,
        };
        let why = result.err()?;
        Some(format!(
            "{name} = {value:?} ({}): {what}: {why}; fix the path, or create it and give this user access",
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
    if fs::metadata(path)?.is_dir() {
        Ok(())
    } else {
        Err(io::Error::other("it is not a directory"))
    }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
