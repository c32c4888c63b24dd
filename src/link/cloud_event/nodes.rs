//! The installations that a message has passed, so that it does not come back to one of them.
//!
//! They are one attribute, `sluicenode`, with commas between the names: an attribute's name has only
//! small letters and digits, and judges of events refuse any other name. `sluice-node`, once for each
//! name, is read, too.

use crate::domain::ids::{MAX_ID_LEN, check_id};

/// The attribute and User Property that is written.
pub const NODES: &str = "sluicenode";

/// The User Property that is read as well; it may repeat.
pub const SINGLE_NODE: &str = "sluice-node";

/// The most nodes that a message may have passed.
pub const MAX_NODES: usize = 8;

/// Why a list of nodes is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodesFault {
    /// More than [`MAX_NODES`].
    #[error("the message has passed more than {MAX_NODES} installations of Sluice")]
    TooMany,
    /// A name that no installation has.
    #[error(
        "{NODES} has 1 to {MAX_ID_LEN} characters of A-Z a-z 0-9 . _ : - for each installation"
    )]
    Name,
}

/// Whether an installation may have this name: the links file has the same rule for `node`.
pub fn is_node_name(text: &str) -> bool {
    check_id(text.as_bytes()).is_ok()
}

/// The value of the attribute: the nodes so far, and `own`.
pub(crate) fn join(via: &[Box<str>], own: &str) -> String {
    let mut text =
        String::with_capacity(via.iter().map(|node| node.len() + 1).sum::<usize>() + own.len());
    for node in via {
        text.push_str(node);
        text.push(',');
    }
    text.push_str(own);
    text
}

/// The nodes that the User Properties or attributes name, in order.
pub(crate) fn nodes_of<'a>(
    properties: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Vec<Box<str>>, NodesFault> {
    let named = properties.filter(|(name, _)| matches!(*name, NODES | SINGLE_NODE));
    let mut nodes: Vec<Box<str>> = Vec::new();
    for node in named.flat_map(|(_, value)| value.split(',')) {
        let node = node.trim_ascii();
        if !is_node_name(node) {
            return Err(NodesFault::Name);
        }
        // Both forms may name the same.
        if nodes.iter().any(|known| **known == *node) {
            continue;
        }
        if nodes.len() == MAX_NODES {
            return Err(NodesFault::TooMany);
        }
        nodes.push(node.into());
    }
    Ok(nodes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_name_that_the_links_file_takes_is_read_back(name in "[A-Za-z0-9._:-]{1,64}") {
            prop_assert!(check_id(name.as_bytes()).is_ok());
            let written = join(&["a:1".into()], &name);
            let nodes = nodes_of([(NODES, written.as_str())].into_iter()).unwrap();
            prop_assert!(nodes.iter().any(|node| **node == *name));
        }
    }
}
