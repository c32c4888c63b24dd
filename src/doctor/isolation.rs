//! Checks once whether the broker isolates devices, with the daemon's own probe.
//!
//! It needs the authority's key; without one the finding says so.

use std::convert::Infallible;

use crate::clock;
use crate::config::Config;
use crate::domain::finding::{Finding, Severity};
use crate::registry::revocation::isolation::{IsolationProbe, IsolationVerdict};

/// Probes the broker with one message to an own topic and one to a foreign topic.
pub(super) async fn findings(config: &Config) -> Result<Vec<Finding>, Infallible> {
    let Some(mut prober) = IsolationProbe::of(config, clock::now) else {
        return Ok(vec![unset(config)]);
    };
    let broken = |what| Finding { level: Severity::Error, what, advice: None };
    Ok(vec![match prober.run().await {
        IsolationVerdict::Enforced => Finding::ok(
            "the broker accepts a device's own topic and refuses those of other devices",
        ),
        IsolationVerdict::Broken(what)
        | IsolationVerdict::OwnRefused(what)
        | IsolationVerdict::Unknown(what) => broken(what),
    }])
}

// --- private helpers ---

fn unset(config: &Config) -> Finding {
    if config.certificates.ca_key_path.is_some() {
        return Finding::warning(
            "not checked: BROKER_PROBE_ADDR is not set, so Sluice cannot check whether the broker isolates devices",
            "set BROKER_PROBE_ADDR to the address at which devices reach the broker",
        );
    }
    Finding::ok(
        "not checked: the check needs DEVICE_CA_CERT_PATH, DEVICE_CA_KEY_PATH and BROKER_PROBE_ADDR",
    )
}
