//! Settings of public credentials: the listener, its limits, and the URL of the broker for
//! browsers.

use std::net::{IpAddr, SocketAddr};

use crate::config::load::reader::SettingReader;
use crate::config::setting::{Setting, SettingKind, SettingRule};

/// Settings of public credentials.
#[derive(Clone, Debug)]
pub struct PublicConfig {
    /// `PUBLIC_BIND`; `None` means that there is no public listener.
    pub bind: Option<SocketAddr>,
    /// `PUBLIC_WEBSOCKET_URL`.
    pub websocket_url: Option<String>,
    /// `PUBLIC_TRUSTED_PROXIES`.
    pub trusted_proxies: Vec<Network>,
    /// `PUBLIC_CREDENTIALS_PER_MINUTE`.
    pub credentials_per_minute: u32,
    /// `PUBLIC_MAX_GUESTS`.
    pub max_guests: u32,
}

/// A network: addresses with a common prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    bits: u8,
}

const WEBSOCKET_URL: SettingKind = SettingKind::Text(SettingRule {
    allowed: "a URL that begins with ws:// or wss://, without spaces, quotes, commas and semicolons",
    holds: |text| websocket_origin(text).is_some(),
});
const NETWORKS: SettingKind = SettingKind::Text(SettingRule {
    allowed: "IP addresses or networks such as 10.0.0.0/8, separated by commas",
    holds: |text| networks(text).is_some(),
});

/// The rows of the settings table.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting::optional(
        "PUBLIC_BIND",
        SettingKind::Bind,
        "The address of the public listener: it issues guest credentials (POST /public/credentials) and serves the page \
         /public. Not set: there is no public listener.",
    ),
    Setting::optional(
        "PUBLIC_WEBSOCKET_URL",
        WEBSOCKET_URL,
        "The URL at which browsers reach the broker. Each credential contains it.",
    ),
    Setting::optional(
        "PUBLIC_TRUSTED_PROXIES",
        NETWORKS,
        "The proxies in front of PUBLIC_BIND whose X-Forwarded-For header Sluice uses. Not set: Sluice ignores the header.",
    ),
    Setting::whole(
        "PUBLIC_CREDENTIALS_PER_MINUTE",
        "10",
        (1, 6_000),
        "credentials",
        "How many credentials one IP address gets per minute. For IPv6 the limit applies to each /64 network.",
    ),
    Setting::whole(
        "PUBLIC_MAX_GUESTS",
        "10000",
        (1, 1_000_000),
        "credentials",
        "The maximum number of valid credentials, for all replicas together.",
    ),
];

// === impl PublicConfig ===

impl PublicConfig {
    pub(crate) fn read(reader: &mut SettingReader) -> Self {
        let proxies = reader.optional_text("PUBLIC_TRUSTED_PROXIES");
        Self {
            bind: reader.optional_bind("PUBLIC_BIND"),
            websocket_url: reader.optional_text("PUBLIC_WEBSOCKET_URL"),
            trusted_proxies: proxies.and_then(|text| networks(&text)).unwrap_or_default(),
            credentials_per_minute: reader.whole("PUBLIC_CREDENTIALS_PER_MINUTE"),
            max_guests: reader.whole("PUBLIC_MAX_GUESTS"),
        }
    }
}

// === impl Network ===

impl Network {
    /// Whether `address` is in this network.
    pub fn holds(&self, address: IpAddr) -> bool {
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let differ = base.to_bits() ^ address.to_bits();
                differ.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let differ = base.to_bits() ^ address.to_bits();
                differ.leading_zeros() >= u32::from(self.bits)
            }
            _ => false,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (base, bits) =
            text.split_once('/').map_or((text, None), |(base, bits)| (base, Some(bits)));
        let base: IpAddr = base.parse().ok()?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let bits =
            bits.map_or(Some(most), |bits| bits.parse().ok().filter(|&bits| bits <= most))?;
        Some(Self { base, bits })
    }
}

/// Returns the scheme and authority of a websocket URL, as a content security policy names it;
/// `None` means that `url` is no such URL.
pub fn websocket_origin(url: &str) -> Option<&str> {
    let scheme = ["ws://", "wss://"].into_iter().find(|scheme| url.starts_with(scheme))?;
    let is_plain =
        url.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'`,;<>\\".contains(&byte));
    let place = url[scheme.len()..].split(['/', '?', '#']).next().unwrap_or_default();
    let is_place = !place.is_empty() && !place.contains(['@', '*']);
    (is_plain && is_place).then(|| &url[..scheme.len() + place.len()])
}

/// Reads networks with commas between them; `None` if one is invalid.
pub(super) fn networks(text: &str) -> Option<Vec<Network>> {
    text.split(',').map(|part| Network::parse(part.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_the_addresses_that_begin_like_it() {
        let all = networks("192.0.2.7, 10.0.0.0/8,2001:db8::/32").unwrap();
        let holds =
            |address: &str| all.iter().any(|network| network.holds(address.parse().unwrap()));
        for address in ["192.0.2.7", "::ffff:192.0.2.7", "10.255.0.1", "2001:db8:1::1"] {
            assert!(holds(address), "{address}");
        }
        for address in ["192.0.2.8", "11.0.0.1", "2001:db9::1", "::1"] {
            assert!(!holds(address), "{address}");
        }
        assert!(networks("0.0.0.0/0").unwrap()[0].holds("203.0.113.9".parse().unwrap()));
        for wrong in ["", "proxy", "10.0.0.0/33", "10.0.0.0/", "10.0.0.1,,10.0.0.2", "::/129"] {
            assert_eq!(networks(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_websockets_url_has_an_origin_and_nothing_that_ends_a_policy() {
        assert_eq!(
            websocket_origin("wss://mqtt.example.org/mqtt?x=1"),
            Some("wss://mqtt.example.org")
        );
        assert_eq!(websocket_origin("ws://127.0.0.1:9002"), Some("ws://127.0.0.1:9002"));
        for wrong in [
            "",
            "http://x",
            "wss://",
            "ws:///x",
            "wss://a b",
            "wss://a;x",
            "wss://a'x",
            "wss://*",
            "ws://u@h",
        ] {
            assert_eq!(websocket_origin(wrong), None, "{wrong}");
        }
    }
}
