//! The navigation of the console: its pages, their keys, and who sees them.
//!
//! It decides nothing: the API checks each call of a page.

use crate::domain::caller::CallerRole;

/// A page of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NavPage {
    Overview,
    Devices,
    Certificates,
    Quarantine,
    Live,
    Access,
    Audit,
    Ca,
    Cells,
    Links,
    Settings,
    Doctor,
    Operators,
    /// A page that is not in the navigation.
    Elsewhere,
}

/// An entry of the navigation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NavEntry {
    pub page: NavPage,
    pub label: &'static str,
    pub href: &'static str,
    /// The second key after `g`.
    pub key: Option<char>,
    /// Who sees it.
    pub role: CallerRole,
    /// Whether it is in the menu "More".
    pub is_minor: bool,
}

/// The entries of the navigation, in its order.
#[rustfmt::skip]
pub(crate) const NAVIGATION: [NavEntry; 13] = [
    entry(NavPage::Overview, "Overview", "/console", 'o'),
    entry(NavPage::Devices, "Devices", "/console/devices", 'd'),
    entry(NavPage::Certificates, "Certificates", "/console/certificates", 'c'),
    entry(NavPage::Quarantine, "Quarantine", "/console/quarantine", 'q'),
    entry(NavPage::Live, "Live", "/console/live", 'l'),
    entry(NavPage::Access, "Access", "/console/access", 'a'),
    entry(NavPage::Audit, "Audit", "/console/audit", 'u'),
    entry(NavPage::Ca, "CA and CRL", "/console/ca", 'r').minor(),
    entry(NavPage::Cells, "Cells", "/console/cells", 'e').minor(),
    entry(NavPage::Links, "Links", "/console/links", 'n').minor(),
    entry(NavPage::Doctor, "Doctor", "/console/doctor", 'h').minor(),
    entry(NavPage::Settings, "Settings", "/console/settings", 's').minor().for_role(CallerRole::Admin),
    entry(NavPage::Operators, "Operators", "/console/operators", 'p').minor().for_role(CallerRole::Admin),
];

const fn entry(page: NavPage, label: &'static str, href: &'static str, key: char) -> NavEntry {
    NavEntry { page, label, href, key: Some(key), role: CallerRole::Viewer, is_minor: false }
}

// === impl NavEntry ===

impl NavEntry {
    const fn minor(self) -> Self {
        Self { is_minor: true, ..self }
    }

    const fn for_role(self, role: CallerRole) -> Self {
        Self { role, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_its_own_key_and_address() {
        for (at, entry) in NAVIGATION.iter().enumerate() {
            let others = &NAVIGATION[at + 1..];
            assert!(others.iter().all(|o| o.key != entry.key && o.href != entry.href));
        }
    }
}
