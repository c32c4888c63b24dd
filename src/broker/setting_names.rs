//! How errors name the settings of a connection: `MQTT_HOST` for the local broker, `link.azure.host` for
//! a link.
//!
//! It reads no setting.

use crate::domain::link::LinkName;

/// Where the settings of a connection come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingNames {
    /// The daemon's settings, for the connection to the local broker.
    Daemon,
    /// The table of this link in the links file.
    Link(LinkName),
}

// === impl SettingNames ===

impl SettingNames {
    /// The host.
    pub fn host(&self) -> String {
        self.named("MQTT_HOST", "host")
    }

    /// The trusted authorities.
    pub fn ca_cert(&self) -> String {
        self.named("MQTT_CA_CERT", "ca_cert")
    }

    /// The client certificate.
    pub fn client_cert(&self) -> String {
        self.named("MQTT_CLIENT_CERT", "cert")
    }

    /// The key of the client certificate; at a link also that of its tokens.
    pub fn client_key(&self) -> String {
        self.named("MQTT_CLIENT_KEY", "key")
    }

    /// The key that signs login tokens.
    pub fn token_key(&self) -> String {
        self.named("MQTT_JWT_KEY", "key")
    }

    /// The claims of login tokens.
    pub fn token_claims(&self) -> String {
        self.named("MQTT_JWT_CLAIMS", "claims")
    }

    fn named(&self, daemon: &str, field: &str) -> String {
        match self {
            Self::Daemon => daemon.to_owned(),
            Self::Link(link) => format!("link.{link}.{field}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_names_its_own_fields() {
        let link = SettingNames::Link("azure".parse().unwrap());
        assert_eq!(link.token_key(), "link.azure.key");
        assert_eq!(SettingNames::Daemon.token_key(), "MQTT_JWT_KEY");
    }
}
