//! Settings of the console: who may sign in, and for how long.

use std::time::Duration;

use super::public::{Network, networks};
use crate::config::load::reader::SettingReader;
use crate::config::setting::{Setting, SettingKind, SettingRule};
use crate::domain::caller::{GroupRole, parse_group_roles};

/// Settings of the console.
#[derive(Clone, Debug)]
pub struct ConsoleConfig {
    /// `CONSOLE`.
    pub is_on: bool,
    /// `CONSOLE_HTTPS`.
    pub https: HttpsRule,
    /// `CONSOLE_SESSION_HOURS`.
    pub session: Duration,
    /// `CONSOLE_IDLE_MINUTES`.
    pub idle: Duration,
    /// `CONSOLE_VIEWER_PAYLOADS`.
    pub viewer_payloads: bool,
    /// `CONSOLE_TRUSTED_PROXIES`.
    pub trusted_proxies: Vec<Network>,
    /// `CONSOLE_GROUP_ROLES`.
    pub group_roles: Vec<GroupRole>,
}

/// How Sluice finds out whether a browser reaches it by HTTPS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpsRule {
    /// By `X-Forwarded-Proto` of a trusted proxy; plain HTTP is accepted from private addresses.
    Auto,
    /// It always does: a proxy in front adds no header.
    Required,
    /// Plain HTTP is accepted from every address.
    Off,
}

const NETWORKS: SettingKind = SettingKind::Text(SettingRule {
    allowed: "IP addresses or networks such as 10.0.0.0/8, separated by commas",
    holds: |text| networks(text).is_some(),
});
const GROUP_ROLES: SettingKind = SettingKind::Text(SettingRule {
    allowed: "entries <group>=<role> or <group>=<role>@<tenant> with commas between them, each group once; a role is \
              viewer, operator or admin",
    holds: |text| parse_group_roles(text).is_some(),
});

/// The rows of the settings table.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting::switch(
        "CONSOLE",
        "1",
        "Whether HTTP_BIND serves the console, pages for a browser below /console. They always require a login.",
    ),
    Setting::with_default(
        "CONSOLE_HTTPS",
        "auto",
        SettingKind::Choice(&["auto", "required", "off"]),
        "Whether browsers reach the console by HTTPS. auto: as the X-Forwarded-Proto header of a trusted proxy says; a login \
         by plain HTTP works only from private addresses. required: always by HTTPS, by a proxy that sends no such header. \
         off: a login by plain HTTP works from every address.",
    ),
    Setting::whole(
        "CONSOLE_SESSION_HOURS",
        "12",
        (1, 720),
        "hours",
        "How long a session of the console lasts.",
    ),
    Setting::whole(
        "CONSOLE_IDLE_MINUTES",
        "60",
        (2, 43_200),
        "minutes",
        "How long a session of the console lasts without a request.",
    ),
    Setting::switch(
        "CONSOLE_VIEWER_PAYLOADS",
        "0",
        "Whether viewers see the payloads of messages, at the console and over HTTP. 0: they see the size only.",
    ),
    Setting::optional(
        "CONSOLE_TRUSTED_PROXIES",
        NETWORKS,
        "The proxies in front of HTTP_BIND that authenticate people. Sluice uses their headers X-Auth-Request-User, \
         X-Auth-Request-Groups, X-Forwarded-For and X-Forwarded-Proto, and ignores those of other addresses. Not set: Sluice \
         ignores the headers.",
    ),
    Setting::optional(
        "CONSOLE_GROUP_ROLES",
        GROUP_ROLES,
        "The roles of people whom a trusted proxy or an identity provider authenticates, by group, such as \
         ops=admin,acme-team=operator@acme. After @: the only tenant of the group. The highest role counts. A person without \
         a group of this list may not sign in.",
    ),
];

// === impl ConsoleConfig ===

impl ConsoleConfig {
    pub(crate) fn read(reader: &mut SettingReader) -> Self {
        const MINUTE: Duration = Duration::from_mins(1);
        let https = match reader.text("CONSOLE_HTTPS").as_str() {
            "required" => HttpsRule::Required,
            "off" => HttpsRule::Off,
            _ => HttpsRule::Auto,
        };
        let proxies = reader.optional_text("CONSOLE_TRUSTED_PROXIES");
        let groups = reader.optional_text("CONSOLE_GROUP_ROLES");
        Self {
            is_on: reader.switch("CONSOLE"),
            https,
            session: MINUTE * 60 * reader.whole::<u32>("CONSOLE_SESSION_HOURS"),
            idle: MINUTE * reader.whole::<u32>("CONSOLE_IDLE_MINUTES"),
            viewer_payloads: reader.switch("CONSOLE_VIEWER_PAYLOADS"),
            trusted_proxies: proxies.and_then(|text| networks(&text)).unwrap_or_default(),
            group_roles: groups.and_then(|text| parse_group_roles(&text)).unwrap_or_default(),
        }
    }
}
