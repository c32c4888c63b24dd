//! The shape of the other broker's address, known without a connection.
//!
//! It resolves no name.

use std::net::IpAddr;

use super::fields::shown;
use crate::config::sections::broker::is_host;
use crate::link::kind::LinkKind;

/// The ends of host names in the clouds of Azure.
pub(crate) const AZURE: [&str; 3] =
    [".eventgrid.azure.net", ".eventgrid.azure.us", ".eventgrid.azure.cn"];

/// Checks a host; the error says what to write.
pub(super) fn check(host: &str, kind: Option<LinkKind>) -> Result<(), String> {
    if !is_host(host) {
        return Err(match alone(host) {
            Some(alone) => format!(
                "expected a host name or an IP address, without scheme, port and path: write {alone:?}, found {}",
                shown(host)
            ),
            None => format!("expected a host name or an IP address, found {}", shown(host)),
        });
    }
    let lower = host.to_ascii_lowercase();
    let of_azure = AZURE.iter().find_map(|end| Some((lower.strip_suffix(end)?, *end)));
    match (of_azure, kind) {
        (Some((name, end)), Some(LinkKind::EventGrid)) if name.rsplit('.').next() != Some("ts") => {
            Err(format!("this is the namespace's HTTP host: its MQTT host is \"{name}.ts{end}\""))
        }
        (Some(_), Some(LinkKind::AwsIot)) => {
            Err("this is a host of Azure Event Grid: write kind = \"event-grid\"".to_owned())
        }
        (None, Some(LinkKind::EventGrid)) if region(host).is_some() => {
            Err("this is a host of AWS IoT Core: write kind = \"aws-iot\"".to_owned())
        }
        _ => Ok(()),
    }
}

/// Whether the host is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether the host is one of Azure Event Grid.
pub(super) fn is_azure(host: &str) -> bool {
    let lower = host.to_ascii_lowercase();
    AZURE.iter().any(|end| lower.ends_with(end))
}

/// The region in a host of AWS IoT Core, `<prefix>.iot.<region>.amazonaws.com`.
pub(super) fn region(host: &str) -> Option<&str> {
    let mut labels = host.split('.').skip_while(|label| *label != "iot").skip(1);
    let region = labels.next()?;
    (labels.next() == Some("amazonaws")).then_some(region)
}

// --- private helpers ---

/// The host within a URL or an address; `None` if there is none.
fn alone(text: &str) -> Option<&str> {
    let rest = text.split_once("://").map_or(text, |(_scheme, rest)| rest);
    let rest = rest.split('/').next().unwrap_or(rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_login, rest)| rest);
    let rest = rest.split_once(':').map_or(rest, |(host, _port)| host);
    (!rest.is_empty() && rest != text && is_host(rest)).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_another_service_is_found_and_the_right_one_is_named() {
        let event_grid = Some(LinkKind::EventGrid);
        for (host, kind, words) in [
            (
                "ns.eastus-1.eventgrid.azure.net",
                event_grid,
                "its MQTT host is \"ns.eastus-1.ts.eventgrid.azure.net\"",
            ),
            ("wss://h.example.org/mqtt", None, "write \"h.example.org\""),
            ("h.example.org:8883", None, "write \"h.example.org\""),
            ("a b", None, "expected a host name or an IP address, found \"a b\""),
            ("x-ats.iot.us-east-1.amazonaws.com", event_grid, "write kind = \"aws-iot\""),
            (
                "ns.eastus-1.ts.eventgrid.azure.net",
                Some(LinkKind::AwsIot),
                "write kind = \"event-grid\"",
            ),
        ] {
            let why = check(host, kind).unwrap_err();
            assert!(why.contains(words), "{host}: {why}");
        }
        for (host, kind) in [
            ("NS.eastus-1.ts.eventgrid.azure.net", event_grid),
            ("mqtt.example.org", event_grid),
            ("127.0.0.1", event_grid),
            ("::1", None),
            ("x.iot.us-east-1.amazonaws.com", Some(LinkKind::AwsIot)),
        ] {
            assert_eq!(check(host, kind), Ok(()), "{host}");
        }
    }

    #[test]
    fn the_region_is_read_from_the_host() {
        assert_eq!(region("x-ats.iot.eu-west-1.amazonaws.com"), Some("eu-west-1"));
        assert_eq!(region("x.ats.iot.cn-north-1.amazonaws.com.cn"), Some("cn-north-1"));
        for other in ["localhost", "iot.example.org", "x.iot"] {
            assert_eq!(region(other), None, "{other}");
        }
    }
}
