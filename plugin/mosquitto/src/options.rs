//! The options of an instance: the lines `plugin_opt_NAME VALUE` of the broker's configuration.
//!
//! An unknown name or a value that does not fit is an error, and the broker does not start: a misspelled
//! option must not leave it less protected than its operator intends.

use std::path::PathBuf;
use std::time::Duration;

/// One option as the broker passes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawOption {
    /// The name without `plugin_opt_`.
    pub key: String,
    /// The value.
    pub value: String,
}

/// The options of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one option of the configuration file")]
pub struct Options {
    /// `socket`: the socket of the daemon (`PLUGIN_SOCKET`).
    pub socket: PathBuf,
    /// `profile`: the name of this instance in metrics, one for each listener.
    pub profile: String,
    /// `certificate`: whether a certificate decides who the client is.
    pub certificates: bool,
    /// `tokens`: whether the daemon is asked about passwords and tokens.
    pub tokens: bool,
    /// `methods`: the methods of extended authentication whose data is a token.
    pub methods: Vec<String>,
    /// `ask_ms`: how long the broker waits for an answer of the daemon.
    pub ask_timeout: Duration,
    /// `breaker`: after so many questions without an answer, the plugin does not ask for a second.
    pub breaker: u32,
    /// `stale_s`: how long the last snapshot is in force without the daemon.
    pub stale_after: Duration,
    /// `on_stale`: what holds afterwards.
    pub on_stale: OnStale,
    /// `start`: what holds until the first snapshot has arrived.
    pub start: OnStart,
    /// `wait_ms`: how long `start fail` waits for the first snapshot.
    pub start_timeout: Duration,
    /// `unknown`: what becomes of a login that the daemon does not accept.
    pub unknown: Unknown,
    /// `bind_session`: whether a client id belongs to the identity that uses it.
    pub binds_sessions: bool,
    /// `stamp`: whether messages get the proof of their publisher.
    pub stamps: bool,
    /// `reserved`: what becomes of reserved properties that a client sends.
    pub reserved: Reserved,
    /// `wills`: what becomes of a will.
    pub wills: Wills,
    /// `trust_bridge`: the bridges whose messages keep their properties.
    pub trusted_bridges: Vec<String>,
}

/// What holds when the snapshot is older than `stale_s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStale {
    /// New sessions are refused; open ones go on until their own end.
    DenyNew,
    /// Everything is refused.
    DenyAll,
    /// The snapshot stays in force.
    Allow,
}

/// What holds before the first snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStart {
    /// Everything is refused.
    Deny,
    /// The broker does not start.
    Fail,
}

/// What becomes of a login that the daemon does not accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// It is refused.
    Deny,
    /// The broker's password file and ACL file decide.
    Defer,
}

/// What becomes of reserved properties that a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// They are removed.
    Strip,
    /// The message is refused.
    Reject,
}

/// What becomes of a will. The broker gives wills to no plugin as messages, so their properties cannot be
/// changed: only a copy can have a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wills {
    /// It is published as a copy with a proof.
    Restamp,
    /// It is not published.
    Deny,
    /// It is published as it is, without a proof.
    Pass,
}

/// Why options are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// An unknown name.
    #[error("plugin_opt_{0} is unknown: the options are {names}", names = NAMES.join(", "))]
    Unknown(String),
    /// A name that occurs twice.
    #[error("plugin_opt_{0} occurs twice")]
    Twice(String),
    /// A value that does not fit.
    #[error("plugin_opt_{key} {value:?} is invalid: expected {expected}")]
    Value {
        /// The name.
        key: String,
        /// The value.
        value: String,
        /// The valid values.
        expected: &'static str,
    },
}

/// The names, without `plugin_opt_`.
pub const NAMES: [&str; 17] = [
    "socket",
    "profile",
    "certificate",
    "tokens",
    "methods",
    "ask_ms",
    "breaker",
    "stale_s",
    "on_stale",
    "start",
    "wait_ms",
    "unknown",
    "bind_session",
    "stamp",
    "reserved",
    "wills",
    "trust_bridge",
];

const PROFILE_MAX_BYTES: usize = 64;

impl Default for Options {
    fn default() -> Self {
        Self {
            socket: "/run/sluice/plugin.sock".into(),
            profile: "default".into(),
            certificates: true,
            tokens: true,
            methods: vec!["CUSTOM-JWT".into()],
            ask_timeout: Duration::from_millis(50),
            breaker: 2,
            stale_after: Duration::from_mins(5),
            on_stale: OnStale::DenyNew,
            start: OnStart::Deny,
            start_timeout: Duration::from_secs(2),
            unknown: Unknown::Deny,
            binds_sessions: true,
            stamps: true,
            reserved: Reserved::Strip,
            wills: Wills::Restamp,
            trusted_bridges: Vec::new(),
        }
    }
}

impl Options {
    /// Reads the options of an instance.
    pub fn read(raw: &[RawOption]) -> Result<Self, OptionError> {
        let mut options = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        for option in raw {
            if seen.contains(&option.key.as_str()) {
                return Err(OptionError::Twice(option.key.clone()));
            }
            seen.push(&option.key);
            options.set(option)?;
        }
        Ok(options)
    }

    /// Whether this client id is that of a trusted bridge: its local client id as configured, or the one
    /// that the broker makes, `local.<host>.<name>`.
    pub fn trusts_bridge(&self, client_id: &[u8]) -> bool {
        let Ok(client_id) = std::str::from_utf8(client_id) else { return false };
        let made = client_id.strip_prefix("local.").map(|rest| rest.rsplit('.').next());
        self.trusted_bridges.iter().any(|name| client_id == name || made == Some(Some(name)))
    }

    /// What the options weaken, one sentence each, for the daemon's `doctor`.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut warn = |is_set: bool, text: &str| {
            if is_set {
                warnings.push(text.to_owned());
            }
        };
        warn(
            !self.certificates,
            "plugin_opt_certificate is off: certificates are not checked against the registry",
        );
        warn(
            self.on_stale == OnStale::Allow,
            "plugin_opt_on_stale is allow: without the daemon an old registry stays in force without end",
        );
        warn(
            !self.binds_sessions,
            "plugin_opt_bind_session is false: an identity can end the session of another by its client id",
        );
        warn(!self.stamps, "plugin_opt_stamp is off: messages carry no proof of their publisher");
        warn(
            self.wills == Wills::Pass,
            "plugin_opt_wills is pass: wills carry no proof, and the properties of their client",
        );
        warn(
            !self.trusted_bridges.is_empty(),
            "plugin_opt_trust_bridge is set: the bridges named there can claim any publisher whose key they have",
        );
        warnings
    }

    fn set(&mut self, option: &RawOption) -> Result<(), OptionError> {
        let value = option.value.trim();
        match option.key.as_str() {
            "socket" => self.socket = option.absolute_path(value)?,
            "profile" => self.profile = option.name(value)?,
            "certificate" => {
                self.certificates =
                    option.one_of("registry or off", [("registry", true), ("off", false)])?;
            }
            "tokens" => {
                self.tokens = option.one_of("ask or off", [("ask", true), ("off", false)])?;
            }
            "methods" => self.methods = list(value),
            "ask_ms" => self.ask_timeout = Duration::from_millis(option.number(1, 1_000)?),
            "breaker" => {
                self.breaker = u32::try_from(option.number(1, 100)?).unwrap_or(u32::MAX);
            }
            "stale_s" => self.stale_after = Duration::from_secs(option.number(5, 604_800)?),
            "on_stale" => {
                self.on_stale = option.one_of(
                    "deny_new, deny_all or allow",
                    [
                        ("deny_new", OnStale::DenyNew),
                        ("deny_all", OnStale::DenyAll),
                        ("allow", OnStale::Allow),
                    ],
                )?;
            }
            "start" => {
                self.start = option
                    .one_of("deny or fail", [("deny", OnStart::Deny), ("fail", OnStart::Fail)])?;
            }
            "wait_ms" => self.start_timeout = Duration::from_millis(option.number(100, 60_000)?),
            "unknown" => {
                self.unknown = option.one_of(
                    "deny or defer",
                    [("deny", Unknown::Deny), ("defer", Unknown::Defer)],
                )?;
            }
            "bind_session" => self.binds_sessions = option.flag()?,
            "stamp" => self.stamps = option.flag()?,
            "reserved" => {
                self.reserved = option.one_of(
                    "strip or reject",
                    [("strip", Reserved::Strip), ("reject", Reserved::Reject)],
                )?;
            }
            "wills" => {
                self.wills = option.one_of(
                    "restamp, deny or pass",
                    [("restamp", Wills::Restamp), ("deny", Wills::Deny), ("pass", Wills::Pass)],
                )?;
            }
            "trust_bridge" => self.trusted_bridges = list(value),
            _ => return Err(OptionError::Unknown(option.key.clone())),
        }
        Ok(())
    }
}

impl RawOption {
    fn error(&self, expected: &'static str) -> OptionError {
        OptionError::Value { key: self.key.clone(), value: self.value.clone(), expected }
    }

    fn one_of<T: Copy, const N: usize>(
        &self,
        expected: &'static str,
        values: [(&str, T); N],
    ) -> Result<T, OptionError> {
        let value = self.value.trim();
        let found = values.into_iter().find(|(name, _)| *name == value);
        found.map(|(_, value)| value).ok_or_else(|| self.error(expected))
    }

    fn flag(&self) -> Result<bool, OptionError> {
        self.one_of(
            "true or false",
            [("true", true), ("false", false), ("on", true), ("off", false)],
        )
    }

    fn number(&self, least: u64, most: u64) -> Result<u64, OptionError> {
        let number = self.value.trim().parse().ok();
        number
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| self.error("a whole number within the documented range"))
    }

    fn absolute_path(&self, value: &str) -> Result<PathBuf, OptionError> {
        let path = PathBuf::from(value);
        if path.is_absolute() { Ok(path) } else { Err(self.error("an absolute path")) }
    }

    fn name(&self, value: &str) -> Result<String, OptionError> {
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let fits = (1..=PROFILE_MAX_BYTES).contains(&value.len()) && value.bytes().all(is_plain);
        if fits { Ok(value.to_owned()) } else { Err(self.error("up to 64 of A-Z a-z 0-9 . _ -")) }
    }
}

// === private helpers ===

fn list(value: &str) -> Vec<String> {
    value.split([' ', ',']).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}
