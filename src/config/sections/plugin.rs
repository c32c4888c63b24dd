//! Settings of the broker's plugin: its socket, who may connect there, and the proofs of publishers.
//!
//! It opens no socket and derives no key.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::names;
use crate::config::load::reader::SettingReader;
use crate::config::secret::Secret;
use crate::config::setting::{Setting, SettingKind, SettingRule};

/// Where Linux lists the users.
const USERS: &str = "/etc/passwd";

/// The user that runs the broker in the packages of Debian and others.
const BROKER_USER: &str = "mosquitto";

/// The user id of root.
const ROOT: u32 = 0;

/// The longest secret, in bytes.
const SECRET_MAX_BYTES: usize = 512;

/// Settings of the broker's plugin.
#[derive(Clone, Debug)]
pub struct PluginConfig {
    /// `PLUGIN_SOCKET`.
    pub socket: Option<PathBuf>,
    /// `PLUGIN_PEER_UIDS`; `None` means that the daemon finds them ([`broker_uids`]).
    pub peer_uids: Option<Vec<u32>>,
    /// `PUBLISHER_PROOF`.
    pub proof: PublisherProof,
    /// `PUBLISHER_PROOF_SECRET`.
    pub proof_secret: Option<Secret>,
    /// `PUBLISHER_PROOF_SECRET_PREVIOUS`.
    pub previous_proof_secret: Option<Secret>,
    /// `PUBLISHER_GATEWAYS`.
    pub gateways: Arc<[Box<str>]>,
}

/// What ingest needs to verify proofs, and to decide with them.
#[derive(Clone, Debug)]
pub struct ProofSettings {
    /// `PUBLISHER_PROOF`.
    pub mode: PublisherProof,
    /// `PUBLISHER_PROOF_SECRET`.
    pub secret: Option<Secret>,
    /// `PUBLISHER_PROOF_SECRET_PREVIOUS`.
    pub previous: Option<Secret>,
    /// `PUBLISHER_GATEWAYS`: identities that may publish for every device.
    pub gateways: Arc<[Box<str>]>,
}

/// What a message needs beside its topic and payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublisherProof {
    /// Proofs are not read.
    Off,
    /// A valid proof authenticates its publisher; a message without one is decided as with `Off`.
    Prefer,
    /// A message without a valid proof is refused.
    Require,
}

const UIDS: SettingKind = SettingKind::Text(SettingRule {
    allowed: "user ids (numbers) separated by commas",
    holds: |text| names::is_list(text) && text.split(',').all(|uid| uid_of(uid).is_some()),
});

const GATEWAYS: SettingKind = SettingKind::Text(SettingRule {
    allowed: "identities at the broker, such as acme/device/gateway-1, separated by commas",
    holds: names::is_list,
});

const PROOF_SECRET: SettingKind = SettingKind::Secret(SettingRule {
    allowed: "32 to 512 letters, digits and signs of ASCII, without spaces",
    holds: |text| {
        (sluice_shared::proof::SECRET_MIN_BYTES..=SECRET_MAX_BYTES).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic())
    },
});

/// The rows of the settings table.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting::optional(
        "PLUGIN_SOCKET",
        SettingKind::Path,
        "The Unix socket at which the broker's plugin connects. Its directory must exist. Not set: no plugin can connect.",
    ),
    Setting::optional(
        "PLUGIN_PEER_UIDS",
        UIDS,
        "The users, by their ids, whose processes may connect to PLUGIN_SOCKET. Not set: the user of the daemon, root, and the \
         user mosquitto if there is one.",
    ),
    Setting::with_default(
        "PUBLISHER_PROOF",
        "off",
        SettingKind::Choice(&["off", "prefer", "require"]),
        "What Sluice does with the proof of the publisher that the broker's plugin adds to a message. off: it is not read. \
         prefer: a valid proof authenticates the publisher, and a message without one is decided as with off. require: a message \
         without a valid proof is refused.",
    ),
    Setting::optional(
        "PUBLISHER_PROOF_SECRET",
        PROOF_SECRET,
        "The secret from which the keys of proofs are derived. Set the same on each replica.",
    ),
    Setting::optional(
        "PUBLISHER_PROOF_SECRET_PREVIOUS",
        PROOF_SECRET,
        "The secret before the last change of PUBLISHER_PROOF_SECRET: proofs made with it stay valid. Remove it when no message \
         from before the change waits at the broker.",
    ),
    Setting::optional(
        "PUBLISHER_GATEWAYS",
        GATEWAYS,
        "The identities at the broker that may publish for every device, such as acme/device/gateway-1. A message that another \
         identity than its device is proven to have published is refused. Used with PUBLISHER_PROOF=prefer and require.",
    ),
];

// === impl PluginConfig ===

impl PluginConfig {
    pub(crate) fn read(reader: &mut SettingReader) -> Self {
        let proof = match reader.text("PUBLISHER_PROOF").as_str() {
            "prefer" => PublisherProof::Prefer,
            "require" => PublisherProof::Require,
            _ => PublisherProof::Off,
        };
        let uids = reader.optional_text("PLUGIN_PEER_UIDS");
        let gateways = reader.optional_text("PUBLISHER_GATEWAYS").unwrap_or_default();
        let gateways = gateways.split(',').map(str::trim).filter(|name| !name.is_empty());
        let config = Self {
            socket: reader.path("PLUGIN_SOCKET"),
            peer_uids: uids.map(|list| list.split(',').filter_map(uid_of).collect()),
            proof,
            proof_secret: reader.secret("PUBLISHER_PROOF_SECRET"),
            previous_proof_secret: reader.secret("PUBLISHER_PROOF_SECRET_PREVIOUS"),
            gateways: gateways.map(Into::into).collect(),
        };
        config.check(reader);
        config
    }

    /// What ingest needs of it.
    pub(crate) fn proofs(&self) -> ProofSettings {
        ProofSettings {
            mode: self.proof,
            secret: self.proof_secret.clone(),
            previous: self.previous_proof_secret.clone(),
            gateways: Arc::clone(&self.gateways),
        }
    }

    fn check(&self, reader: &mut SettingReader) {
        if self.proof_secret.is_none() && self.proof != PublisherProof::Off {
            reader.conflict(
                &["PUBLISHER_PROOF", "PUBLISHER_PROOF_SECRET"],
                "a proof is verified with the secret: set PUBLISHER_PROOF_SECRET too",
            );
        }
        if self.proof_secret.is_none() && self.previous_proof_secret.is_some() {
            reader.conflict(
                &["PUBLISHER_PROOF_SECRET_PREVIOUS", "PUBLISHER_PROOF_SECRET"],
                "it is the secret before another one: set PUBLISHER_PROOF_SECRET too",
            );
        }
        if self.proof_secret.is_some() && self.proof_secret == self.previous_proof_secret {
            reader.conflict(
                &["PUBLISHER_PROOF_SECRET", "PUBLISHER_PROOF_SECRET_PREVIOUS"],
                "the two secrets must differ: remove PUBLISHER_PROOF_SECRET_PREVIOUS",
            );
        }
        if self.peer_uids.is_some() && self.socket.is_none() {
            reader.conflict(
                &["PLUGIN_PEER_UIDS", "PLUGIN_SOCKET"],
                "it is used only with a socket: set PLUGIN_SOCKET, or remove it",
            );
        }
    }
}

// === impl ProofSettings ===

impl ProofSettings {
    /// Proofs are not read.
    pub fn off() -> Self {
        Self { mode: PublisherProof::Off, secret: None, previous: None, gateways: [].into() }
    }
}

/// The users that run a broker without a setting: root, and the user of the broker's packages.
pub fn broker_uids() -> Vec<u32> {
    let users = fs::read_to_string(USERS).unwrap_or_default();
    [ROOT].into_iter().chain(uid_in(&users, BROKER_USER)).collect()
}

// --- private helpers ---

fn uid_of(text: &str) -> Option<u32> {
    let text = text.trim();
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The id of the user `name` in a list as Linux keeps it.
fn uid_in(users: &str, name: &str) -> Option<u32> {
    let mut rows = users.lines().map(|line| line.split(':'));
    rows.find_map(|mut row| (row.next() == Some(name)).then(|| row.nth(1).and_then(uid_of))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::load::tests::{environment, error};

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_proof_needs_its_secret() {
        for mode in ["prefer", "require"] {
            let text = error(&environment(&[("PUBLISHER_PROOF", mode)]));
            assert!(text.contains("set PUBLISHER_PROOF_SECRET too"), "{text}");
            let set = [("PUBLISHER_PROOF", mode), ("PUBLISHER_PROOF_SECRET", SECRET)];
            assert!(Config::load(&environment(&set)).is_ok());
        }
        let previous = error(&environment(&[("PUBLISHER_PROOF_SECRET_PREVIOUS", SECRET)]));
        assert!(previous.contains("the secret before another one"), "{previous}");
        let same =
            [("PUBLISHER_PROOF_SECRET", SECRET), ("PUBLISHER_PROOF_SECRET_PREVIOUS", SECRET)];
        assert!(error(&environment(&same)).contains("the two secrets must differ"));
        let short = error(&environment(&[("PUBLISHER_PROOF_SECRET", &SECRET[1..])]));
        assert!(short.contains("32 to 512") && !short.contains(&SECRET[1..]), "{short}");
    }

    #[test]
    fn peers_are_numbers_of_users() {
        let set = |uids| [("PLUGIN_SOCKET", "/run/sluice/plugin.sock"), ("PLUGIN_PEER_UIDS", uids)];
        let config = Config::load(&environment(&set("0, 113"))).unwrap().config;
        assert_eq!(config.plugin.peer_uids, Some(vec![0, 113]));
        for wrong in ["mosquitto", "1,,2", "-1", "+1", "4294967296"] {
            assert!(error(&environment(&set(wrong))).contains("user ids"), "{wrong}");
        }
        let alone = error(&environment(&[("PLUGIN_PEER_UIDS", "0")]));
        assert!(alone.contains("set PLUGIN_SOCKET"), "{alone}");
    }

    #[test]
    fn the_user_of_the_broker_is_found_by_its_name() {
        let users = "root:x:0:0:root:/root:/bin/sh\nmosquitto-x:x:7:7::/:/bin/false\nmosquitto:x:113:117::/var/lib/mosquitto:/usr/sbin/nologin\n";
        assert_eq!(uid_in(users, "mosquitto"), Some(113));
        assert_eq!(uid_in("", "mosquitto"), None);
        assert_eq!(uid_in("mosquitto:x:many:1::/:/", "mosquitto"), None);
    }
}
