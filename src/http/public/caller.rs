//! Finds the client address behind proxies, which the rate limit charges.
//!
//! It trusts only those entries of `X-Forwarded-For` that a trusted proxy added.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName};

use crate::config::sections::public::Network;

/// The header to which each proxy appends the address of its client, on the right.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The nearest address that is not a trusted proxy. At an unreadable entry, it is the last readable
/// proxy.
pub(crate) fn caller(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.holds(address));
    let mut nearest = peer.to_canonical();
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    for part in lines.flat_map(|line| line.as_bytes().rsplit(|&byte| byte == b',')) {
        if !is_trusted(nearest) {
            return nearest;
        }
        let Some(address) = address(part) else { return nearest };
        nearest = address;
    }
    nearest
}

/// Parses an address with or without a port.
fn address(part: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(part).ok()?.trim();
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let address =
        bare.parse().or_else(|_| text.parse().map(|with_port: SocketAddr| with_port.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    fn trusted(text: &str) -> Vec<Network> {
        let environment =
            vec![("PUBLIC_TRUSTED_PROXIES".to_owned(), text.to_owned())].into_iter().collect();
        let sources = Sources { environment, ..Sources::default() };
        Config::load(&sources).unwrap().config.public.trusted_proxies
    }

    #[test]
    fn only_entries_that_a_trusted_proxy_added_count() {
        let proxies = trusted("192.0.2.1,10.0.0.0/8");
        for (peer, lines, expected) in [
            ("198.51.100.9", &["203.0.113.5"][..], "198.51.100.9"),
            ("192.0.2.1", &[], "192.0.2.1"),
            ("192.0.2.1", &["203.0.113.5"], "203.0.113.5"),
            ("::ffff:192.0.2.1", &["203.0.113.5:4711"], "203.0.113.5"),
            ("192.0.2.1", &["1.1.1.1, 203.0.113.5"], "203.0.113.5"),
            ("192.0.2.1", &["1.1.1.1, 203.0.113.5", "10.1.2.3"], "203.0.113.5"),
            ("192.0.2.1", &["203.0.113.5, nonsense"], "192.0.2.1"),
            ("192.0.2.1", &["[2001:db8::7]:443, 10.1.2.3"], "2001:db8::7"),
            ("192.0.2.1", &["10.9.9.9"], "10.9.9.9"),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FORWARDED_FOR, line.parse().unwrap());
            }
            let expected: IpAddr = expected.parse().unwrap();
            assert_eq!(
                caller(peer.parse().unwrap(), &headers, &proxies),
                expected,
                "{peer} {lines:?}"
            );
            assert_eq!(
                caller(peer.parse().unwrap(), &headers, &[]),
                peer.parse::<IpAddr>().unwrap().to_canonical()
            );
        }
    }
}
