//! The links file: TOML, one table for each link.
//!
//! A file with one fault yields no link. All faults are reported at once, each with its path, such as
//! `link.azure.publish[0].to`. It corrects nothing, and it opens none of the files that the links
//! name: they may be mounted later.
//!
//! In reading order: [`keys`] lists every key, [`fields`] reads the values of one table, [`units`]
//! sizes and durations; [`link_table`] reads one link with its [`bounds`], its [`login`] and its
//! [`rules`]; [`names`] checks topics and names, [`hosts`] the shape of the address, [`loops`] and
//! [`cross_checks`] compare rules and links with each other.

mod bounds;
mod cross_checks;
mod fields;
mod hosts;
pub mod keys;
mod link_table;
mod login;
mod loops;
mod names;
mod rules;
#[cfg(test)]
mod tests;
mod units;

use std::io;
use std::path::{Path, PathBuf};

use crate::config::document::reader::{Faults, ValueReader, get, key_path};
use crate::config::document::tree::{Node, TableEntries};
use crate::disk;
use crate::domain::ids::check_id;
use crate::link::settings::{LinkSet, LinkSettings};
use link_table::LinkTable;

/// The longest links file, in bytes.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The most links of a file: each has a task and connections of its own.
pub const MAX_LINKS: usize = 32;

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
}

/// Reads the links of a file.
pub fn load(path: &Path) -> Result<LinkSet, LinksFileError> {
    let text = disk::read_text(path, MAX_FILE_BYTES)
        .map_err(|why| LinksFileError::Unreadable { path: path.to_owned(), why })?;
    parse(&text).map_err(|faults| LinksFileError::Wrong { path: path.to_owned(), faults })
}

/// Parses the links.
pub fn parse(text: &str) -> Result<LinkSet, Faults> {
    let mut values = ValueReader::default();
    let set = match Node::of_toml(text) {
        Ok(root) => read(&mut values, &root),
        Err(fault) => {
            values.faults.add(fault);
            None
        }
    };
    set.filter(|_| values.faults.is_empty()).ok_or(values.faults)
}

// --- private helpers ---

fn read(values: &mut ValueReader, root: &Node) -> Option<LinkSet> {
    let top = values.table("the file", root)?;
    values.reject_unknown_keys(top, "", keys::TOP);
    let node = get(top, "node").and_then(|node| node_name(values, node));
    let tables = get(top, "link").and_then(|node| values.table("link", node)).unwrap_or_default();
    if tables.len() > MAX_LINKS {
        let why = format!("the file has {} links; at most {MAX_LINKS} are allowed", tables.len());
        values.fault("link", why);
        return None;
    }
    let links: Vec<_> = tables.iter().filter_map(|(name, node)| link(values, name, node)).collect();
    cross_checks::check(values, &links);
    Some(LinkSet { node, links })
}

fn node_name(values: &mut ValueReader, node: &Node) -> Option<String> {
    let name = values.text("node", node)?;
    match check_id(name.as_bytes()) {
        Ok(()) => Some(name.to_owned()),
        Err(error) => {
            values.fault("node", error.to_string());
            None
        }
    }
}

fn link(values: &mut ValueReader, name: &str, node: &Node) -> Option<LinkSettings> {
    let place = key_path("link", name);
    let name = name.parse().map_err(|error| values.fault(&place, format!("{error}"))).ok();
    let entries: &TableEntries = values.table(&place, node)?;
    let before = values.faults.count();
    let link = LinkTable::new(values, entries, place).read(name?);
    // A link with a fault is not compared with others: it would be blamed twice.
    link.filter(|_| values.faults.count() == before)
}
