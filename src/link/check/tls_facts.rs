//! Step 8: what the TLS handshake showed.

use super::report::CheckStep;
use crate::broker::remote::facts::{RemoteFacts, TlsFacts};
use crate::clock;
use crate::link::explain::LinkExplanation;
use crate::link::settings::{LinkAuth, LinkSettings};

/// Days before the end of the server's certificate from which the step warns.
const SOON_DAYS: f64 = 14.0;

const DAY_SECONDS: f64 = 86_400.0;

/// Step 8. `fault`: why there is no session, if TLS is the cause.
pub fn tls(link: &LinkSettings, facts: &RemoteFacts, fault: Option<&LinkExplanation>) -> CheckStep {
    if !link.transport.is_encrypted() {
        return CheckStep::skipped(8, "TLS", "the link uses no TLS");
    }
    let mut step = CheckStep::new(8, "TLS");
    if let Some(found) = &facts.tls {
        described(&mut step, link, found);
    }
    if let Some(why) = fault {
        step.fail(why.to_string(), why.advice.clone());
        let fields = match &link.auth {
            LinkAuth::Certificate { .. } => ["ca_cert", "host", "cert"].as_slice(),
            _ => &["ca_cert", "host"],
        };
        for field in fields {
            step.field(*field);
        }
    } else if facts.tls.is_none() {
        return CheckStep::skipped(8, "TLS", "no handshake was made: an earlier step failed");
    }
    step
}

// === private helpers ===

fn described(step: &mut CheckStep, link: &LinkSettings, found: &TlsFacts) {
    let alpn = found.alpn.as_deref().map(|name| format!(", ALPN {name}")).unwrap_or_default();
    step.note(format!("{}{alpn}: the certificate is valid for {}", found.version, link.host));
    if let Some(end) = found.not_after {
        let days = end.seconds_since(clock::now()) / DAY_SECONDS;
        if days < SOON_DAYS {
            step.warn(
                format!("the server's certificate ends at {end}"),
                "its operator must renew it",
            );
        } else {
            step.note(format!("the server's certificate ends in {days:.0} days"));
        }
    }
    let has_certificate = matches!(link.auth, LinkAuth::Certificate { .. });
    match (found.client_certificate_requested, has_certificate) {
        (true, false) => {
            step.note("the server requests a client certificate, and the link has none");
        }
        (false, true) => {
            step.warn(
                "the server requests no client certificate: the one of the link is not used",
                "check host and port: another listener expects certificates",
            );
            step.field("port");
        }
        (true, true) => {
            step.note("the server requests a client certificate, and gets that of the link");
        }
        (false, false) => {}
    }
}
