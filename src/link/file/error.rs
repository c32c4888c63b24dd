//! Why a links file yields no links.

use std::io;
use std::path::PathBuf;

use crate::config::document::reader::Faults;

/// Why a file yields no links.
#[derive(Debug, thiserror::Error)]
pub enum LinksFileError {
    /// The file cannot be read.
    #[error("reading the links file {} failed: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        why: io::Error,
    },
    /// The file has faults.
    #[error("the links file {} is invalid:\n{faults}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The faults.
        faults: Faults,
    },
    /// Files that it names cannot be used.
    #[error("the links file {} names files that cannot be used:\n{faults}", path.display())]
    NamedFiles {
        /// The file.
        path: PathBuf,
        /// The faults.
        faults: Faults,
    },
}
