//! Settings of the console: who may sign in, and for how long.

use std::time::Duration;

use super::public::{Network, networks};
use crate::config::load::reader::SettingReader;
use crate::config::secret::Secret;
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
    /// `CONSOLE_URL`.
    pub url: Option<String>,
    /// `CONSOLE_PROXY_LOGIN`.
    pub is_proxy_login: bool,
    /// `CONSOLE_TRUSTED_PROXIES`.
    pub trusted_proxies: Vec<Network>,
    /// `CONSOLE_GROUP_ROLES`.
    pub group_roles: Vec<GroupRole>,
    /// The identity provider.
    pub oidc: Option<OidcConfig>,
}

/// Settings of the identity provider.
#[derive(Clone, Debug)]
pub struct OidcConfig {
    /// `CONSOLE_OIDC_ISSUER`.
    pub issuer: String,
    /// `CONSOLE_OIDC_CLIENT_ID`.
    pub client_id: String,
    /// `CONSOLE_OIDC_CLIENT_SECRET`.
    pub client_secret: Option<Secret>,
    /// `CONSOLE_OIDC_SCOPES`.
    pub scopes: String,
    /// Where the provider returns to, below `CONSOLE_URL`.
    pub redirect_uri: String,
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
const URL: SettingKind = SettingKind::Text(SettingRule {
    allowed: "http:// or https://, a host, and perhaps a port; without a path",
    holds: |text| {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        rest.is_some_and(|host| {
            let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
            !host.is_empty() && host.bytes().all(is_fine)
        })
    },
});
const ISSUER: SettingKind = SettingKind::Text(super::issuer::NAME);
const WORD: SettingKind = SettingKind::Text(SettingRule {
    allowed: "1 to 256 visible characters of ASCII",
    holds: |text| {
        (1..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    },
});
const CLIENT_SECRET: SettingKind = SettingKind::Secret(SettingRule {
    allowed: "8 to 512 visible characters of ASCII",
    holds: |text| {
        (8..=512).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    },
});
const SCOPES: SettingKind = SettingKind::Text(SettingRule {
    allowed: "words separated by spaces, one of them openid",
    holds: |text| text.split(' ').any(|word| word == "openid") && text.len() <= 512,
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
        "CONSOLE_URL",
        URL,
        "The address at which browsers reach the console, such as https://sluice.example.org. `sluice console` prints it, and \
         an identity provider returns to it.",
    ),
    Setting::optional(
        "CONSOLE_TRUSTED_PROXIES",
        NETWORKS,
        "The proxies in front of HTTP_BIND whose headers X-Forwarded-For and X-Forwarded-Proto Sluice uses for logins. Not set: \
         Sluice ignores the headers.",
    ),
    Setting::switch(
        "CONSOLE_PROXY_LOGIN",
        "0",
        "Whether the trusted proxies authenticate people: Sluice then signs in the person of X-Auth-Request-User with the \
         groups of X-Auth-Request-Groups. Turn it on only if the proxy removes these headers from what browsers send. Sluice \
         ignores them from every other address.",
    ),
    Setting::optional(
        "CONSOLE_GROUP_ROLES",
        GROUP_ROLES,
        "The roles of people whom a trusted proxy or an identity provider authenticates, by group, such as \
         ops=admin,acme-team=operator@acme. After @: the only tenant of the group. The highest role counts. A person without \
         a group of this list may not sign in.",
    ),
    Setting::optional(
        "CONSOLE_OIDC_ISSUER",
        ISSUER,
        "The identity provider that signs people in at the console (OpenID Connect, code flow with PKCE): JWT_ISSUER, or an \
         issuer of JWT_ISSUERS_PATH. It must return to CONSOLE_URL/console/login/return. The groups of a person come from the \
         group claims of the issuer.",
    ),
    Setting::optional(
        "CONSOLE_OIDC_CLIENT_ID",
        WORD,
        "The client id of the console at the identity provider.",
    ),
    Setting::optional(
        "CONSOLE_OIDC_CLIENT_SECRET",
        CLIENT_SECRET,
        "The client secret of the console. Not set: the console is a public client, which PKCE protects.",
    ),
    Setting::with_default(
        "CONSOLE_OIDC_SCOPES",
        "openid profile email",
        SCOPES,
        "The scopes that the console requests. Add the scope that gives the groups, if your provider needs one.",
    ),
];

// === impl ConsoleConfig ===

impl ConsoleConfig {
    pub(crate) fn read(reader: &mut SettingReader) -> Self {
        let config = Self::read_all(reader);
        if config.is_proxy_login && config.trusted_proxies.is_empty() {
            let why = "name the proxies that authenticate people";
            reader.conflict(&["CONSOLE_PROXY_LOGIN", "CONSOLE_TRUSTED_PROXIES"], why);
        }
        if config.is_proxy_login && config.group_roles.is_empty() {
            let why = "say which role each group has";
            reader.conflict(&["CONSOLE_PROXY_LOGIN", "CONSOLE_GROUP_ROLES"], why);
        }
        config
    }

    fn read_all(reader: &mut SettingReader) -> Self {
        const MINUTE: Duration = Duration::from_mins(1);
        let https = match reader.text("CONSOLE_HTTPS").as_str() {
            "required" => HttpsRule::Required,
            "off" => HttpsRule::Off,
            _ => HttpsRule::Auto,
        };
        let proxies = reader.optional_text("CONSOLE_TRUSTED_PROXIES");
        let groups = reader.optional_text("CONSOLE_GROUP_ROLES");
        // Each setting is read once: reading reports an invalid value.
        let url = reader.optional_text("CONSOLE_URL");
        let oidc = read_oidc(reader, url.as_deref(), groups.is_some());
        Self {
            is_on: reader.switch("CONSOLE"),
            https,
            session: MINUTE * 60 * reader.whole::<u32>("CONSOLE_SESSION_HOURS"),
            idle: MINUTE * reader.whole::<u32>("CONSOLE_IDLE_MINUTES"),
            viewer_payloads: reader.switch("CONSOLE_VIEWER_PAYLOADS"),
            url,
            is_proxy_login: reader.switch("CONSOLE_PROXY_LOGIN"),
            trusted_proxies: proxies.and_then(|text| networks(&text)).unwrap_or_default(),
            oidc,
            group_roles: groups.and_then(|text| parse_group_roles(&text)).unwrap_or_default(),
        }
    }
}

// === private helpers ===

fn read_oidc(
    reader: &mut SettingReader,
    url: Option<&str>,
    has_group_roles: bool,
) -> Option<OidcConfig> {
    let issuer = reader.optional_text("CONSOLE_OIDC_ISSUER");
    let client_id = reader.optional_text("CONSOLE_OIDC_CLIENT_ID");
    let client_secret = reader.secret("CONSOLE_OIDC_CLIENT_SECRET");
    let scopes = reader.text("CONSOLE_OIDC_SCOPES");
    let issuer = issuer?;
    let needed = [
        ("CONSOLE_OIDC_CLIENT_ID", client_id.is_some()),
        ("CONSOLE_URL", url.is_some()),
        ("CONSOLE_GROUP_ROLES", has_group_roles),
    ];
    for (name, _) in needed.into_iter().filter(|(_, is_set)| !is_set) {
        reader
            .conflict(&["CONSOLE_OIDC_ISSUER", name], "a login by an identity provider needs both");
    }
    let redirect_uri = format!("{}/console/login/return", url?.trim_end_matches('/'));
    Some(OidcConfig { issuer, client_id: client_id?, client_secret, scopes, redirect_uri })
}

#[cfg(test)]
mod tests {
    use crate::config::load::tests::{environment, error};
    use crate::config::values::Config;

    #[test]
    fn what_belongs_together_is_set_together() {
        for (pairs, expected) in [
            (
                &[("CONSOLE_PROXY_LOGIN", "1"), ("CONSOLE_GROUP_ROLES", "ops=admin")][..],
                "name the proxies",
            ),
            (
                &[("CONSOLE_PROXY_LOGIN", "1"), ("CONSOLE_TRUSTED_PROXIES", "10.0.0.1")],
                "which role each group has",
            ),
            (
                &[
                    ("CONSOLE_OIDC_ISSUER", "https://id.example.org"),
                    ("CONSOLE_URL", "https://sluice.example.org"),
                    ("CONSOLE_GROUP_ROLES", "ops=admin"),
                ],
                "CONSOLE_OIDC_CLIENT_ID",
            ),
            (
                &[
                    ("CONSOLE_OIDC_ISSUER", "https://id.example.org"),
                    ("CONSOLE_OIDC_CLIENT_ID", "sluice"),
                    ("CONSOLE_GROUP_ROLES", "ops=admin"),
                ],
                "CONSOLE_URL",
            ),
            (
                &[
                    ("CONSOLE_OIDC_ISSUER", "https://id.example.org"),
                    ("CONSOLE_OIDC_CLIENT_ID", "sluice"),
                    ("CONSOLE_URL", "https://sluice.example.org"),
                    ("CONSOLE_GROUP_ROLES", "ops=admin"),
                ],
                "JWT_ISSUER",
            ),
            (&[("CONSOLE_URL", "https://sluice.example.org/console")], "without a path"),
            (&[("CONSOLE_URL", "sluice.example.org")], "http:// or https://"),
            (&[("CONSOLE_GROUP_ROLES", "ops=root")], "a role is viewer, operator or admin"),
            (&[("CONSOLE_TRUSTED_PROXIES", "proxy")], "IP addresses or networks"),
            (&[("CONSOLE_IDLE_MINUTES", "1")], "from 2 to"),
        ] {
            let text = error(&environment(pairs));
            assert!(text.contains(expected), "{pairs:?}: {text}");
        }
        // An issuer alone misses all three settings that belong to it.
        let alone = environment(&[("CONSOLE_OIDC_ISSUER", "https://id.example.org")]);
        let errors = Config::load(&alone).unwrap_err();
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        for missing in ["CONSOLE_OIDC_CLIENT_ID", "CONSOLE_URL", "CONSOLE_GROUP_ROLES"] {
            let says = format!("{missing} is not set");
            assert!(texts.iter().any(|text| text.contains(&says)), "{missing}: {texts:?}");
        }
        let config = Config::load(&environment(&[])).unwrap().config.console;
        assert!(config.is_on && !config.viewer_payloads && config.oidc.is_none());
    }
}
