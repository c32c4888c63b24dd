//! The frame of every page: its title, the navigation, who is signed in, notices, and the drawer
//! "The same by command and curl". `layout.html` draws it.
//!
//! A page makes it by [`Visit::frame`](super::visit::Visit::frame) and adds what only it knows.

use super::assets::{self, Asset};
use super::filters;
use super::keys::{self, KeyBinding};
pub(crate) use super::navigation::NavPage;
use super::navigation::{NAVIGATION, NavEntry};
use super::notice::Notice;
use super::preferences::Preferences;
use crate::domain::caller::CallerRole;
use crate::domain::ids::is_addressable;
use crate::http::SignedIn;

/// The same as the page shows or does, by other means.
#[derive(Clone, Debug, Default)]
pub(crate) struct SameBy {
    /// What it does, if the page has several.
    pub label: String,
    /// The command line, as it is typed; empty if no command does it.
    pub command: String,
    /// The call of the API.
    pub curl: String,
}

/// Everything that `layout.html` shows around a page.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub title: String,
    pub active: NavPage,
    pub person: Option<SignedIn>,
    pub preferences: Preferences,
    pub notice: Option<Notice>,
    pub same_by: Vec<SameBy>,
    /// The address of this page, to which a change of a preference returns.
    pub here: String,
    /// The scheme and the host of this address, for the calls of the API.
    pub origin: String,
    /// What the search box shows.
    pub search: String,
    /// Where the search box leads: the page's own list, or the jump of the whole console.
    pub search_action: String,
    /// Whether the page draws by uPlot.
    pub has_plots: bool,
    /// Whether the page receives events of the server.
    pub has_stream: bool,
}

// === impl Frame ===

impl Frame {
    /// Adds an entry to the drawer: a command without the name of the program (empty: none), and a
    /// call of the API.
    #[must_use]
    pub(crate) fn same_by(mut self, command: &str, method: &str, target: &str) -> Self {
        self.same_by.push(SameBy::new(&self.origin, command, method, target));
        self
    }

    /// The same with a body of the call, as JSON.
    #[must_use]
    pub(crate) fn same_by_sending(
        mut self,
        command: &str,
        method: &str,
        target: &str,
        body: &str,
    ) -> Self {
        let mut same = SameBy::new(&self.origin, command, method, target);
        same.curl.push_str(" \\\n  -H 'Content-Type: application/json' -d ");
        same.curl.push_str(&shell_quoted(body));
        self.same_by.push(same);
        self
    }

    /// Makes the search box search the list of this page: its text, and the address of the list.
    #[must_use]
    pub(crate) fn searching(self, search: &str, action: &str) -> Self {
        Self { search: search.to_owned(), search_action: action.to_owned(), ..self }
    }

    /// Loads uPlot on this page.
    #[must_use]
    pub(crate) fn with_plots(self) -> Self {
        Self { has_plots: true, ..self }
    }

    /// Reads a stream of the server on this page.
    #[must_use]
    pub(crate) fn with_stream(self) -> Self {
        Self { has_stream: true, ..self }
    }

    /// Whether the person may do what needs this role.
    pub(crate) fn may(&self, role: CallerRole) -> bool {
        self.person.as_ref().is_some_and(|person| person.role >= role)
    }

    /// Whether the person may act as an operator.
    pub(crate) fn may_operate(&self) -> bool {
        self.may(CallerRole::Operator)
    }

    /// Whether the person may act as an admin.
    pub(crate) fn may_administer(&self) -> bool {
        self.may(CallerRole::Admin)
    }

    /// The token that each form repeats in its field `csrf`.
    pub(crate) fn csrf(&self) -> &str {
        self.person.as_ref().map_or("", |person| &person.csrf)
    }

    /// The entries that the person sees; those of the menu "More" or the others.
    pub(crate) fn navigation(&self, is_minor: bool) -> impl Iterator<Item = &'static NavEntry> {
        let entries = NAVIGATION.iter().filter(move |entry| entry.is_minor == is_minor);
        entries.filter(|entry| self.may(entry.role))
    }

    pub(crate) fn is_active(&self, entry: &NavEntry) -> bool {
        self.active == entry.page
    }

    /// Whether the active page is in the menu "More".
    pub(crate) fn is_minor_active(&self) -> bool {
        NAVIGATION.iter().any(|entry| entry.is_minor && entry.page == self.active)
    }

    /// The address of a file of the console.
    #[expect(clippy::unused_self, reason = "templates reach it by the frame")]
    pub(crate) fn asset(&self, name: &str) -> String {
        Asset::named(name).map(assets::href).unwrap_or_default()
    }

    /// The keys, for the help and for the script.
    #[expect(clippy::unused_self, reason = "templates reach it by the frame")]
    pub(crate) fn keys(&self) -> &'static [KeyBinding] {
        &keys::KEYS
    }

    /// The keys as the script reads them.
    #[expect(clippy::unused_self, reason = "templates reach it by the frame")]
    pub(crate) fn key_data(&self) -> String {
        keys::data()
    }
}

// === impl SameBy ===

impl SameBy {
    fn new(origin: &str, command: &str, method: &str, target: &str) -> Self {
        let method = if method == "GET" { String::new() } else { format!("-X {method} ") };
        let command = if command.is_empty() { String::new() } else { format!("sluice {command}") };
        let path = target.split('?').next().unwrap_or_default();
        // curl would resolve these names, too.
        let as_is = if is_addressable(path) { "" } else { "--path-as-is " };
        let url = shell_quoted(&format!("{origin}{target}"));
        let curl = format!("curl {as_is}{method}-H \"Authorization: Bearer $TOKEN\" {url}");
        Self { label: String::new(), command, curl }
    }
}

/// A word of a shell: as it is if every shell takes it so, or else in single quotes.
pub(crate) fn shell_quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A number of things with its noun: "1 device", "12,481 devices".
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    let noun = if number == 1 { one } else { many };
    format!("{} {noun}", filters::thousands(i128::from(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_copied_whatever_it_holds() {
        assert_eq!(shell_quoted("pump-7"), "pump-7");
        assert_eq!(shell_quoted("silent:1h -a"), "'silent:1h -a'");
        assert_eq!(shell_quoted("a'; rm -rf $HOME"), r"'a'\''; rm -rf $HOME'");
        let same =
            SameBy::new("http://h:1", "device list", "GET", "/api/v1/devices?search=a+b&x=1");
        assert_eq!(same.command, "sluice device list");
        let curl =
            "curl -H \"Authorization: Bearer $TOKEN\" 'http://h:1/api/v1/devices?search=a+b&x=1'";
        assert_eq!(same.curl, curl);
        let same = SameBy::new("http://h:1", "", "GET", "/api/v1/tenants/acme/devices/..");
        assert!(same.curl.starts_with("curl --path-as-is -H"), "{}", same.curl);
    }
}
