//! The person whom a trusted proxy has authenticated, by the headers that it adds.
//!
//! It uses the headers only with `CONSOLE_PROXY_LOGIN`, and only from an address of
//! `CONSOLE_TRUSTED_PROXIES`: everyone else could write them.

use axum::http::{HeaderMap, HeaderName};

use super::arrival::Arrival;
use crate::config::sections::console::ConsoleConfig;
use crate::domain::caller::role_of_groups;
use crate::domain::operator::Person;

const USER: HeaderName = HeaderName::from_static("x-auth-request-user");
const GROUPS: HeaderName = HeaderName::from_static("x-auth-request-groups");

/// The longest name of a person, in characters.
const NAME_MAX: usize = 100;

/// What the headers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ProxyClaim {
    /// They name no person, or Sluice does not use them.
    None,
    /// An address that is no trusted proxy sends them.
    Foreign,
    /// The person's groups have no role.
    NoRole,
    /// A person with a role.
    Person(Person),
}

// === impl ProxyClaim ===

impl ProxyClaim {
    pub(super) fn of(headers: &HeaderMap, arrival: &Arrival, settings: &ConsoleConfig) -> Self {
        let name = headers.get(&USER).map(|name| String::from_utf8_lossy(name.as_bytes()));
        let Some(name) = name.filter(|_| settings.is_proxy_login) else { return Self::None };
        if !arrival.is_of_proxy {
            return Self::Foreign;
        }
        // Two names could stand for two people: one that the browser sent, and the proxy's.
        let has_one = headers.get_all(&USER).iter().count() == 1;
        let name: String =
            name.trim().chars().filter(|sign| !sign.is_control()).take(NAME_MAX).collect();
        if name.is_empty() || !has_one {
            return Self::None;
        }
        let lines = headers.get_all(&GROUPS).iter().filter_map(|line| line.to_str().ok());
        let groups: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
        role_of_groups(&settings.group_roles, &groups).map_or(Self::NoRole, |grant| {
            Self::Person(Person { name, role: grant.role, tenant: grant.tenant.clone() })
        })
    }
}
