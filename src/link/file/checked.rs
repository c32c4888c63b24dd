//! All that can be known of a links file without a connection: its faults, those of the files that it
//! names, and what is probably not meant.

use std::path::Path;

use super::error::LinksFileError;
use super::load::load;
use super::{named_files, warnings};
use crate::config::document::reader::Faults;
use crate::config::document::tree::DocumentFault;
use crate::link::settings::LinkSet;

/// A links file without a fault.
#[derive(Debug)]
pub struct CheckedLinks {
    /// The links.
    pub set: LinkSet,
    /// What is legal and probably not meant.
    pub warnings: Vec<DocumentFault>,
}

/// Reads the file, and checks that the files which it names can be used.
pub fn check(path: &Path) -> Result<CheckedLinks, LinksFileError> {
    let set = load(path)?;
    let mut faults = Faults::default();
    for fault in named_files::faults(&set) {
        faults.add(fault);
    }
    if !faults.is_empty() {
        return Err(LinksFileError::NamedFiles { path: path.to_owned(), faults });
    }
    let warnings = warnings::warnings(&set);
    Ok(CheckedLinks { set, warnings })
}
