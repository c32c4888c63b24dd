//! From where a request of a browser comes: the client's address, whether a trusted proxy sent it,
//! and whether the browser used HTTPS.
//!
//! It uses headers of trusted proxies only.

use std::net::{IpAddr, Ipv4Addr};

use axum::extract::connect_info::ConnectInfo;
use axum::http::header::HOST;
use axum::http::{Extensions, HeaderMap, HeaderName};

use crate::config::sections::console::{ConsoleConfig, HttpsRule};
use crate::http::api::admin_token::{FromThisMachine, is_forwarded};
use crate::http::listener::browser::is_named_local;
use crate::http::listener::limits::Peer;
use crate::http::public::caller::caller;

/// The header in which a proxy says how its client sent the request.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// From where a request comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about a request")]
pub struct Arrival {
    /// The address of the client, behind trusted proxies.
    pub client: IpAddr,
    /// Whether a trusted proxy sent it.
    pub is_of_proxy: bool,
    /// Whether the browser used HTTPS.
    pub is_https: bool,
    /// Whether it names the host by a name of the console. A foreign name can resolve to this
    /// machine.
    pub has_own_name: bool,
    /// Whether a login by this way is safe enough.
    pub may_sign_in: bool,
}

// === impl Arrival ===

impl Arrival {
    pub(super) fn of(
        headers: &HeaderMap,
        extensions: &Extensions,
        settings: &ConsoleConfig,
    ) -> Self {
        // Without a transport, no address is trusted.
        let peer = extensions.get::<ConnectInfo<Peer>>();
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip());
        let proxies = &settings.trusted_proxies;
        let is_of_proxy = proxies.iter().any(|network| network.holds(peer));
        let client = caller(peer, headers, proxies);
        let is_https = match settings.https {
            HttpsRule::Required => true,
            HttpsRule::Auto | HttpsRule::Off => is_of_proxy && is_forwarded_https(headers),
        };
        let may_sign_in = is_https || settings.https == HttpsRule::Off || is_private(client);
        let is_local = extensions.get::<FromThisMachine>().is_some() && !is_forwarded(headers);
        let has_own_name = has_own_name(headers, is_local, settings.url.as_deref());
        Self { client, is_of_proxy, is_https, has_own_name, may_sign_in }
    }
}

// === private helpers ===

/// Without `CONSOLE_URL` every name is a name of the console, except on the loopback.
fn has_own_name(headers: &HeaderMap, is_local: bool, url: Option<&str>) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let own = url.and_then(|url| url.split_once("://")).map(|(_, authority)| authority);
    match own {
        Some(own) if host.eq_ignore_ascii_case(own) => true,
        Some(_) => is_named_local(headers),
        None => !is_local || is_named_local(headers),
    }
}

/// With several proxies the first one of the list spoke to the browser.
fn is_forwarded_https(headers: &HeaderMap) -> bool {
    let proto = headers.get(FORWARDED_PROTO).and_then(|value| value.to_str().ok());
    let first = proto.and_then(|text| text.split(',').next());
    first.is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
}

/// Whether an address belongs to this machine or to a private network.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_loopback() || address.is_private() || address.is_link_local()
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_those_of_this_machine_and_of_local_networks() {
        for address in
            ["127.0.0.1", "10.1.2.3", "192.168.0.9", "172.17.0.1", "::1", "fd00::1", "fe80::1"]
        {
            assert!(is_private(address.parse().unwrap()), "{address}");
        }
        for address in ["8.8.8.8", "0.0.0.0", "172.32.0.1", "2001:db8::1", "::"] {
            assert!(!is_private(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_foreign_name_of_this_machine_is_no_name_of_the_console() {
        for (host, is_local, url, expected) in [
            ("localhost:8080", true, None, true),
            ("evil.example:8080", true, None, false),
            ("sluice.example.org", false, None, true),
            ("sluice.example.org", true, Some("https://sluice.example.org"), true),
            ("SLUICE.example.org", false, Some("https://sluice.example.org"), true),
            ("evil.example", false, Some("https://sluice.example.org"), false),
            ("127.0.0.1:8080", true, Some("https://sluice.example.org"), true),
        ] {
            let headers = HeaderMap::from_iter([(HOST, host.parse().unwrap())]);
            assert_eq!(has_own_name(&headers, is_local, url), expected, "{host} {url:?}");
        }
    }

    #[test]
    fn the_first_of_several_proxies_says_how_the_browser_sent_the_request() {
        for (value, expected) in
            [("https", true), ("HTTPS, http", true), ("http, https", false), ("", false)]
        {
            let headers = HeaderMap::from_iter([(FORWARDED_PROTO, value.parse().unwrap())]);
            assert_eq!(is_forwarded_https(&headers), expected, "{value}");
        }
        assert!(!is_forwarded_https(&HeaderMap::new()));
    }
}
