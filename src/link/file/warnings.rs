//! What is legal in a links file and probably not meant. One function is one warning.
//!
//! It refuses nothing.

use super::hosts;
use crate::config::document::tree::DocumentFault;
use crate::link::kind::{LinkKind, LinkTransport};
use crate::link::settings::{LinkAuth, LinkSet, LinkSettings};

/// The key at fault, and the sentence.
type Warning = (&'static str, String);

const WARNINGS: [fn(&LinkSettings) -> Option<Warning>; 8] = [
    not_ats,
    foreign_host,
    no_issuer,
    login_of_another_kind,
    certificate_over_websocket,
    other_region,
    unused_rule,
    no_rules,
];

/// Returns the warnings about all links.
pub fn warnings(set: &LinkSet) -> Vec<DocumentFault> {
    let of_link = |link: &LinkSettings| {
        let found = WARNINGS.iter().filter_map(|warning| warning(link));
        let named = found.map(|(key, why)| {
            let place = format!("link.{}", link.name);
            let place = if key.is_empty() { place } else { format!("{place}.{key}") };
            DocumentFault { place, why }
        });
        named.collect::<Vec<_>>()
    };
    set.links.iter().flat_map(of_link).collect()
}

// === the address ===

fn not_ats(link: &LinkSettings) -> Option<Warning> {
    let (name, rest) = link.host.split_once(".iot.")?;
    let is_old = hosts::region(&link.host).is_some() && !name.ends_with("-ats");
    is_old.then(|| {
        let why = format!(
            "this endpoint has a certificate of an authority that systems no longer trust: use \"{name}-ats.iot.{rest}\""
        );
        ("host", why)
    })
}

fn foreign_host(link: &LinkSettings) -> Option<Warning> {
    let (is_its_own, what) = match link.kind {
        LinkKind::EventGrid => {
            let is_azure = hosts::is_azure(&link.host);
            (is_azure, "is no host of Event Grid; it is right only for a custom domain")
        }
        LinkKind::AwsIot => {
            let is_aws = hosts::region(&link.host).is_some();
            (is_aws, "is no host of AWS IoT Core; it is right only for a custom domain")
        }
        LinkKind::Mqtt => return None,
    };
    (!is_its_own && !hosts::is_loopback(&link.host))
        .then(|| ("host", format!("{:?} {what}", link.host)))
}

// === the login ===

fn no_issuer(link: &LinkSettings) -> Option<Warning> {
    let LinkAuth::Jwt { token, .. } = &link.auth else { return None };
    (link.kind == LinkKind::EventGrid && !token.claims.contains_key("iss")).then(|| {
        ("issuer", "it is not set, and Event Grid refuses a token without the claim iss".to_owned())
    })
}

fn login_of_another_kind(link: &LinkSettings) -> Option<Warning> {
    let expected = match (link.kind, &link.auth) {
        (LinkKind::EventGrid, LinkAuth::Anonymous | LinkAuth::Password { .. }) => {
            "Event Grid takes \"jwt\" or \"certificate\""
        }
        (LinkKind::AwsIot, LinkAuth::Anonymous) => {
            "AWS IoT Core takes \"certificate\", \"sigv4\" or \"cognito\""
        }
        (LinkKind::AwsIot, LinkAuth::Password { .. } | LinkAuth::Jwt { .. }) => {
            "AWS IoT Core takes a password or token only with an authorizer of your own"
        }
        _ => return None,
    };
    (!hosts::is_loopback(&link.host))
        .then(|| ("auth", format!("{expected}, and auth is {:?}", link.auth.label())))
}

fn certificate_over_websocket(link: &LinkSettings) -> Option<Warning> {
    let is_unsupported = link.kind == LinkKind::AwsIot
        && link.transport == LinkTransport::SecureWebSocket
        && matches!(link.auth, LinkAuth::Certificate { .. });
    is_unsupported.then(|| {
        let why = "AWS IoT Core takes no client certificate on a websocket: use transport = \"tls\", with port = 443 if 8883 is \
                   closed";
        ("transport", why.to_owned())
    })
}

fn other_region(link: &LinkSettings) -> Option<Warning> {
    let of_host = hosts::region(&link.host)?;
    let (region, pool) = match &link.auth {
        LinkAuth::SigV4 { region, .. } => (region, None),
        LinkAuth::Cognito { region, identity_pool_id, .. } => {
            (region, identity_pool_id.split_once(':').map(|(region, _)| region))
        }
        _ => return None,
    };
    if region != of_host {
        let why = format!(
            "the host is in {of_host}, so AWS refuses a signature for {region}: use {of_host:?}"
        );
        return Some(("region", why));
    }
    let pool = pool.filter(|pool| *pool != region)?;
    let why = format!("the identity pool is in {pool}, and Sluice asks Cognito in {region}");
    Some(("identity_pool_id", why))
}

// === the rules ===

fn unused_rule(link: &LinkSettings) -> Option<Warning> {
    let repeated = link.publish.iter().enumerate().find_map(|(index, rule)| {
        let earlier = link.publish[..index].iter().position(|other| other.from == rule.from)?;
        Some(("publish", index, earlier, "from"))
    });
    let repeated = repeated.or_else(|| {
        link.ingest.iter().enumerate().find_map(|(index, rule)| {
            let earlier =
                link.ingest[..index].iter().position(|other| other.filter == rule.filter)?;
            Some(("ingest", index, earlier, "filter"))
        })
    });
    let (list, index, earlier, key) = repeated?;
    let why = format!(
        "{list}[{index}] is never used: {list}[{earlier}] has the same {key}, and the first rule that matches decides"
    );
    Some((list, why))
}

fn no_rules(link: &LinkSettings) -> Option<Warning> {
    (link.publish.is_empty() && link.ingest.is_empty()).then(|| {
        (
            "",
            "it has neither publish nor ingest, so it forwards nothing and takes nothing in"
                .to_owned(),
        )
    })
}
