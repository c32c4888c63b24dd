//! The keys of the console: one table, from which the help, the reference page and the script come.
//!
//! No key replays, revokes, discards or removes.

use std::fmt::Write as _;

use super::navigation::NAVIGATION;

/// A key, or two in a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyBinding {
    /// As a person reads it: `g` `d` is "g d".
    pub keys: &'static str,
    /// What the script does.
    pub action: &'static str,
    /// What it does, for a person.
    pub label: &'static str,
    /// Where it works.
    pub place: &'static str,
    /// Whether it stays when single keys are off.
    pub has_modifier: bool,
}

const EVERYWHERE: &str = "every page";
const LISTS: &str = "lists";

/// The keys; those that lead to a page follow from the navigation.
pub(crate) const KEYS: [KeyBinding; 12] = [
    key("/", "search", "Go to the search box", EVERYWHERE),
    modified(
        "Ctrl K",
        "palette",
        "Jump to a device, a certificate, an event or a page",
        EVERYWHERE,
    ),
    key("?", "help", "Show the keys", EVERYWHERE),
    modified("Esc", "back", "Close a dialog, or leave the search box", EVERYWHERE),
    key("p", "pause", "Pause what updates, or continue", "live pages"),
    key("j", "down", "Next row", LISTS),
    key("k", "up", "Previous row", LISTS),
    key("Enter", "open", "Open the row", LISTS),
    key("x", "select", "Select the row", LISTS),
    key("e", "explain", "Explain", "where the page offers it"),
    key("d", "dry", "Dry run", "where the page offers it"),
    key("y", "copy", "Copy the first command of \"The same by command\"", EVERYWHERE),
];

const fn key(
    keys: &'static str,
    action: &'static str,
    label: &'static str,
    place: &'static str,
) -> KeyBinding {
    KeyBinding { keys, action, label, place, has_modifier: false }
}

const fn modified(
    keys: &'static str,
    action: &'static str,
    label: &'static str,
    place: &'static str,
) -> KeyBinding {
    KeyBinding { keys, action, label, place, has_modifier: true }
}

/// The table as the script reads it: `keys=action` by line, `g d=/console/devices` for pages.
pub(crate) fn data() -> String {
    let mut text = String::new();
    for binding in KEYS {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}={}", binding.keys, binding.action);
    }
    for entry in NAVIGATION {
        if let Some(key) = entry.key {
            let _ = writeln!(text, "g {key}={}", entry.href);
        }
    }
    text
}

/// The table of the reference page `docs/reference/console-keys.md`.
pub fn console_keys_table() -> String {
    let mut page = String::from("| keys | what they do | where |\n|---|---|---|\n");
    let mut row = |keys: &str, label: &str, place: &str| {
        let keys: Vec<_> = keys.split(' ').map(|key| format!("`{key}`")).collect();
        let _ = writeln!(page, "| {} | {label} | {place} |", keys.join(" "));
    };
    for binding in KEYS {
        let always = if binding.has_modifier { ", also when single keys are off" } else { "" };
        row(binding.keys, binding.label, &format!("{}{always}", binding.place));
    }
    for entry in NAVIGATION {
        if let Some(key) = entry.key {
            row(&format!("g {key}"), &format!("Go to {}", entry.label), EVERYWHERE);
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_key_does_one_thing() {
        let data = data();
        let keys: BTreeSet<_> = data.lines().map(|line| line.split_once('=').unwrap().0).collect();
        assert_eq!(keys.len(), data.lines().count());
        assert_eq!(keys.len(), KEYS.len() + NAVIGATION.len());
    }
}
