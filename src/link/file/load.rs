//! Reads the links file and the tables in it.
//!
//! It corrects nothing.

use std::path::Path;

use super::error::LinksFileError;
use super::link_table::LinkTable;
use super::{cross_checks, keys};
use crate::config::document::reader::{Faults, ValueReader, get, key_path};
use crate::config::document::tree::{Node, TableEntries};
use crate::disk;
use crate::domain::ids::check_id;
use crate::link::settings::{LinkSet, LinkSettings};

/// The longest links file, in bytes.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The most links of a file: each has a task and connections of its own.
pub const MAX_LINKS: usize = 32;

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
    let link = LinkTable::new(values, entries, place).read(name);
    // A link with a fault is not compared with others: it would be blamed twice.
    link.filter(|_| values.faults.count() == before)
}
