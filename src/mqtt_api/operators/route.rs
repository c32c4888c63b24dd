//! From the route and the parameters of a request to a path of the HTTP API.
//!
//! It builds a path and a query; the router decides whether they exist.

use std::collections::BTreeMap;

use crate::domain::ids::TenantId;
use crate::http::CallFault;

/// Longest segment of a route, in bytes.
const MAX_SEGMENT: usize = 512;

/// Most segments of a route.
const MAX_SEGMENTS: usize = 16;

/// What a route means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RouteTarget {
    /// The greeting.
    Greetings,
    /// A path and a query of the API, percent-encoded.
    Api(String),
}

/// Why a route means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RouteFault {
    pub fault: CallFault,
    pub why: String,
}

/// Finds the target of a route. `tenant` is the only tenant of the caller.
pub(super) fn resolve(
    route: &str,
    parameters: &BTreeMap<String, String>,
    tenant: Option<&TenantId>,
) -> Result<RouteTarget, RouteFault> {
    let route = route.strip_prefix('/').unwrap_or(route);
    let route = route.strip_prefix("api/v1/").unwrap_or(route);
    if route == "greetings" {
        return Ok(RouteTarget::Greetings);
    }
    let mut query: BTreeMap<&str, &str> =
        parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut segments: Vec<&str> = Vec::new();
    for segment in route.split('/') {
        segments.push(check(fill(segment, parameters, &mut query))?);
    }
    if segments.len() > MAX_SEGMENTS {
        return Err(malformed(format!("the route has more than {MAX_SEGMENTS} segments")));
    }
    let path = match segments[..] {
        ["crl.pem" | "crl.der"] => format!("/{}", segments[0]),
        ["devices", _, ..] => {
            let tenant = match query.remove("tenant") {
                Some(named) => check(named)?,
                None => tenant.map(TenantId::as_str).ok_or_else(no_tenant)?,
            };
            format!("/api/v1/tenants/{}/{}", encode(tenant), joined(&segments))
        }
        _ => format!("/api/v1/{}", joined(&segments)),
    };
    if query.is_empty() {
        return Ok(RouteTarget::Api(path));
    }
    let query = serde_urlencoded::to_string(query)
        .map_err(|_| malformed("the parameters cannot be encoded".to_owned()))?;
    Ok(RouteTarget::Api(format!("{path}?{query}")))
}

// === private helpers ===

/// The value of the parameter that a segment such as `{tenant}` names; the query loses it.
fn fill<'a>(
    segment: &'a str,
    parameters: &'a BTreeMap<String, String>,
    query: &mut BTreeMap<&str, &str>,
) -> &'a str {
    let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let Some((name, value)) = name.and_then(|name| parameters.get_key_value(name)) else {
        return segment;
    };
    query.remove(name.as_str());
    value
}

fn check(segment: &str) -> Result<&str, RouteFault> {
    if segment.is_empty() {
        return Err(malformed("the route has an empty segment".to_owned()));
    }
    if segment.len() > MAX_SEGMENT {
        return Err(malformed(format!("the route has a segment of more than {MAX_SEGMENT} bytes")));
    }
    if [".", ".."].contains(&segment) || segment.contains(['%', '?', '#', '/', '\\', '\0']) {
        let why = "the route has a segment `.` or `..`, or one with %, ?, #, / or NUL: write names as they are, and a query \
                   as `parameters`";
        return Err(malformed(why.to_owned()));
    }
    Ok(segment)
}

fn joined(segments: &[&str]) -> String {
    segments.iter().map(|segment| encode(segment)).collect::<Vec<_>>().join("/")
}

/// Percent-encodes a segment of a path.
fn encode(segment: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:@".contains(&byte);
    let encoded = segment.bytes().map(|byte| match byte {
        _ if is_plain(byte) => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    encoded.collect()
}

fn malformed(why: String) -> RouteFault {
    RouteFault { fault: CallFault::Malformed, why }
}

fn no_tenant() -> RouteFault {
    let why = "the route devices/<device> needs a tenant: send `parameters.tenant`, or the route \
               tenants/<tenant>/devices/<device>";
    RouteFault { fault: CallFault::NoRoute, why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(route: &str, parameters: &[(&str, &str)], tenant: Option<&str>) -> String {
        let parameters =
            parameters.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let tenant = tenant.map(|tenant| tenant.parse().unwrap());
        match resolve(route, &parameters, tenant.as_ref()) {
            Ok(RouteTarget::Greetings) => "greetings".into(),
            Ok(RouteTarget::Api(target)) => target,
            Err(RouteFault { fault, .. }) => format!("{fault:?}"),
        }
    }

    #[test]
    fn a_route_becomes_a_path_and_parameters_a_query() {
        for (route, parameters, tenant, expected) in [
            ("greetings", &[][..], None, "greetings"),
            ("/api/v1/greetings", &[], None, "greetings"),
            ("tenants", &[], None, "/api/v1/tenants"),
            ("/tenants/acme", &[], None, "/api/v1/tenants/acme"),
            ("api/v1/tenants", &[("limit", "5")], None, "/api/v1/tenants?limit=5"),
            ("crl.pem", &[], None, "/crl.pem"),
            ("devices", &[("tenant", "acme")], None, "/api/v1/devices?tenant=acme"),
            ("devices/p1", &[("tenant", "acme")], None, "/api/v1/tenants/acme/devices/p1"),
            ("devices/p1/shadow", &[], Some("acme"), "/api/v1/tenants/acme/devices/p1/shadow"),
            ("devices/p1", &[("tenant", "b")], Some("acme"), "/api/v1/tenants/b/devices/p1"),
            (
                "tenants/{tenant}/devices/{device}",
                &[("tenant", "a"), ("device", "d"), ("x", "a b&c=d")],
                None,
                "/api/v1/tenants/a/devices/d?x=a+b%26c%3Dd",
            ),
            ("tenants/a b", &[], None, "/api/v1/tenants/a%20b"),
            ("tenants/{tenant}", &[], None, "/api/v1/tenants/%7Btenant%7D"),
            ("devices/p1", &[], None, "NoRoute"),
        ] {
            assert_eq!(target(route, parameters, tenant), expected, "{route} {parameters:?}");
        }
    }

    #[test]
    fn a_segment_that_could_leave_its_place_is_refused() {
        let long = "x".repeat(513);
        for route in [
            "",
            "/",
            "//",
            "a//b",
            "a/",
            "a/..",
            "../a",
            "./a",
            "a%2fb",
            "a?b=c",
            "a#b",
            "a\0b",
            "a\\b",
            &long,
            "a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a",
        ] {
            assert_eq!(target(route, &[], None), "Malformed", "{route:?}");
        }
        for value in ["..", "a/b", "", "a?b"] {
            assert_eq!(target("tenants/{t}", &[("t", value)], None), "Malformed", "{value}");
            assert_eq!(target("devices/d", &[("tenant", value)], None), "Malformed", "{value}");
        }
    }
}
