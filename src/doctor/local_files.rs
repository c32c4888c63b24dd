//! Checks what this machine alone can tell: the settings, the policy file, the authority's
//! certificate, and where the broker is.
//!
//! It opens no connection.

use std::net::IpAddr;
use std::path::Path;

use crate::access::policy::file;
use crate::access::policy::lint::{self, LintSuspicion};
use crate::clock;
use crate::config::sections::certificates::CertificatesConfig;
use crate::disk::{self, Unreachable};
use crate::domain::finding::{Finding, Severity};
use crate::pki::authority::end::AuthorityEnd;
use crate::registry::signer;

/// Runs `judge`, which reads the file at `path`, where a dead mount stops nothing else.
pub(super) async fn read(
    path: Option<&Path>,
    judge: fn(Option<&Path>) -> Vec<Finding>,
) -> Result<Vec<Finding>, Unreachable> {
    let Some(path) = path else { return Ok(judge(None)) };
    let own = path.to_owned();
    disk::run(path, move || judge(Some(&own))).await
}

/// The warnings about legal but dangerous settings.
pub(super) fn judge_settings(warnings: Vec<String>) -> Vec<Finding> {
    if warnings.is_empty() {
        return vec![Finding::ok("the settings are valid")];
    }
    warnings
        .into_iter()
        .map(|what| Finding { level: Severity::Warning, what, advice: None })
        .collect()
}

/// Judges how soon the authority's certificate ends. Blocks.
pub(super) fn judge_authority(path: Option<&Path>) -> Vec<Finding> {
    let Some(path) = path else {
        return vec![Finding::ok(
            "DEVICE_CA_CERT_PATH is not set: Sluice signs no certificates here",
        )];
    };
    vec![judge_end("the authority", AuthorityEnd::of_file(path, clock::now()))]
}

/// Judges the authority of each cell; none means that `CELL_AUTHORITIES_DIR` is unset.
pub(super) async fn cell_authorities(
    settings: &CertificatesConfig,
) -> Result<Vec<Finding>, Unreachable> {
    let owned = settings.clone();
    let read = move || signer::cell_authority_ends(&owned, clock::now());
    Ok(match disk::run(signer::place_of(settings), read).await? {
        Ok(ends) => ends
            .into_iter()
            .map(|(name, end)| judge_end(&format!("the authority {name} of a cell"), end))
            .collect(),
        Err(error) => vec![Finding::error(error.to_string(), "correct the files there")],
    })
}

fn judge_end(whose: &str, end: AuthorityEnd) -> Finding {
    match end {
        AuthorityEnd::Far(end) => Finding::ok(format!("{whose} expires at {end}")),
        AuthorityEnd::Near(_, what) => Finding { level: Severity::Warning, what, advice: None },
        AuthorityEnd::Past(_, what) | AuthorityEnd::Unknown(what) => {
            Finding { level: Severity::Error, what, advice: None }
        }
    }
}

/// Loads the policy file and lints it. Blocks.
pub(super) fn judge_policy(path: Option<&Path>) -> Vec<Finding> {
    let Some(path) = path else {
        return vec![Finding::ok(
            "ACL_RULES_PATH is not set: only the built-in rules answer the broker's hooks",
        )];
    };
    match file::load(path) {
        Ok(policy) => match lint::lint(&policy) {
            suspicions if suspicions.is_empty() => {
                vec![Finding::ok(format!("{} is valid", path.display()))]
            }
            suspicions => suspicions
                .into_iter()
                .map(|LintSuspicion { place, finding, .. }| Finding {
                    what: format!("{place}: {}", finding.what),
                    ..finding
                })
                .collect(),
        },
        Err(error) => {
            vec![Finding::error(
                error.to_string(),
                "fix the file; `sluice access lint` checks it alone",
            )]
        }
    }
}

/// MQTT carries no time of day, so the broker's clock cannot be measured.
pub(super) fn judge_broker_clock(host: &str) -> Finding {
    let is_here = host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    Finding::ok(if is_here {
        "the broker is on this machine or forwarded to it: its clock needs no check".to_owned()
    } else {
        format!("the clock of {host} cannot be checked from here: MQTT carries no time of day")
    })
}
