//! Settings of the HTTP listeners.

use std::net::SocketAddr;

use super::names::{self, is_list};
use crate::config::load::reader::SettingReader;
use crate::config::secret::Secret;
use crate::config::setting::{Setting, SettingKind, SettingRule};

/// Settings of the HTTP listeners.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// `HTTP_BIND`.
    pub api_bind: SocketAddr,
    /// `OPS_BIND`.
    pub ops_bind: SocketAddr,
    /// `HOOKS_BIND`.
    pub hooks_bind: SocketAddr,
    /// `HOOKS_SECRET`.
    pub hooks_secret: Option<Secret>,
    /// `HOOKS_RESERVED_NAMES`.
    pub hooks_reserved_names: Vec<String>,
    /// `ADMIN_TOKEN`.
    pub admin_token: Option<Secret>,
}

const TOKEN: SettingKind = SettingKind::Secret(SettingRule {
    allowed: "8 to 512 letters, digits and signs of ASCII, without spaces",
    holds: |text| {
        (8..=512).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    },
});

/// It is part of a URL, so it contains no character that needs escaping.
const URL_SECRET: SettingKind = SettingKind::Secret(SettingRule {
    allowed: "16 to 512 characters of A-Z a-z 0-9 - _",
    holds: |text| {
        (16..=512).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    },
});

const NAMES: SettingKind =
    SettingKind::Text(SettingRule { allowed: "names separated by commas", holds: is_list });

/// The rows of the settings table.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting::with_default(
        "HTTP_BIND",
        "127.0.0.1:8080",
        SettingKind::Bind,
        "The address of the HTTP API.",
    ),
    Setting::with_default(
        "OPS_BIND",
        "127.0.0.1:9464",
        SettingKind::Bind,
        "The address of /livez, /readyz and /metrics. They need no token.",
    ),
    Setting::with_default(
        "HOOKS_BIND",
        "127.0.0.1:8009",
        SettingKind::Bind,
        "The address of the hooks, which the broker calls for access decisions.",
    ),
    Setting::optional(
        "HOOKS_SECRET",
        URL_SECRET,
        "The secret that each hook request must contain: as `?secret=` in the URL, or in the header X-Hooks-Secret.",
    ),
    Setting::optional(
        "HOOKS_RESERVED_NAMES",
        NAMES,
        "Names that have a meaning at the broker, in addition to those of Sluice. A login with one of them as user name or \
         client id is denied.",
    ),
    Setting::optional("ADMIN_TOKEN", TOKEN, "The bearer token that the HTTP API requires."),
];

// === impl HttpConfig ===

impl HttpConfig {
    pub(crate) fn read(reader: &mut SettingReader) -> Self {
        let api_bind = reader.bind("HTTP_BIND");
        let ops_bind = reader.bind("OPS_BIND");
        let hooks_bind = reader.bind("HOOKS_BIND");
        let listeners =
            [("HTTP_BIND", api_bind), ("OPS_BIND", ops_bind), ("HOOKS_BIND", hooks_bind)];
        for (place, (one, bind)) in listeners.iter().enumerate() {
            for (other, _) in
                listeners[place + 1..].iter().filter(|(_, other)| bind == other && bind.port() != 0)
            {
                reader.conflict(
                    &[one, other],
                    "two listeners cannot share one address: change one of them",
                );
            }
        }
        let (hooks_secret, admin_token) =
            (reader.secret("HOOKS_SECRET"), reader.secret("ADMIN_TOKEN"));
        let hooks_reserved_names =
            names::split(&reader.optional_text("HOOKS_RESERVED_NAMES").unwrap_or_default());
        Self { api_bind, ops_bind, hooks_bind, hooks_secret, hooks_reserved_names, admin_token }
    }
}
