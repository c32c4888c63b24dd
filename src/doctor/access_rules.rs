//! What the doctor finds of the broker's access rules: which form the broker needs, whether
//! the template reads, and whether the file is the one that was written last.
//!
//! It writes nothing, and can check less where the file is on another machine.

use std::path::Path;

use crate::broker::tools::version::{self, BrokerVersion};
use crate::config::Config;
use crate::config::sections::broker_acl::BrokerAclConfig;
use crate::disk;
use crate::domain::finding::Finding;
use crate::domain::ports::Outage;
use crate::registry::access_rules::content::MAX_DENIED;
use crate::registry::access_rules::file;
use crate::registry::access_rules::form::{AclForm, decide};
use crate::registry::access_rules::template::Template;
use crate::store::connection::database::Database;
use crate::store::registry::broker_acl::{self, BrokerAclRow};

/// Lines of `MAX_DENIED` devices: two for each.
const MOST_DENIALS: u64 = 2 * MAX_DENIED as u64;

/// Runs all checks of the access rules.
pub(super) async fn check(config: &Config, database: &Database) -> Result<Vec<Finding>, Outage> {
    let version = version::query(&config.broker).await;
    let settings = &config.certificates.acl;
    let Some(path) = settings.output_path.as_deref() else {
        return Ok(vec![judge_without_file(version.as_ref().ok())]);
    };
    let state = broker_acl::state(database.pool()).await?;
    let mut findings = judge_form(settings, &version, &state);
    let (own, template) = (path.to_owned(), settings.template_path.clone());
    let read = disk::run(path, move || {
        let of_template = template.as_deref().map(judge_template);
        of_template.into_iter().chain([judge_file(&own, &state)]).collect::<Vec<_>>()
    });
    findings.extend(read.await.map_err(|error| Outage(error.to_string()))?);
    Ok(findings)
}

// --- private helpers ---

/// Without `ACL_OUTPUT_PATH` the operator's own rules have to fit the broker's version.
fn judge_without_file(version: Option<&BrokerVersion>) -> Finding {
    match version {
        Some(version) if version.patterns_match_slashes() == Some(false) => Finding::warning(
            format!(
                "the broker is {version}, where %u in a pattern does not match a name with slashes, and ACL_OUTPUT_PATH is \
                 not set: no device can publish unless a plugin decides"
            ),
            "set ACL_OUTPUT_PATH, and name that file as acl_file in mosquitto.conf",
        ),
        _ => Finding::ok(
            "ACL_OUTPUT_PATH is not set: you maintain the broker's access rules, and they do not follow the status of a device \
             or a tenant",
        ),
    }
}

fn judge_form(
    settings: &BrokerAclConfig,
    version: &Result<BrokerVersion, String>,
    state: &BrokerAclRow,
) -> Vec<Finding> {
    let last = state.mode.as_deref().and_then(AclForm::from_label);
    let stated =
        version.as_ref().map_or_else(|_| "an unknown version".to_owned(), ToString::to_string);
    let decision = decide(settings.mode, version.as_ref().map_err(Clone::clone), last);
    vec![decision.finding.map_or_else(
        || {
            Finding::ok(format!(
                "the broker is {stated}: its access rules are written as {}",
                decision.form.label()
            ))
        },
        |why| {
            Finding::error(
                why,
                "allow the user of Sluice to read $SYS/broker/version, or set BROKER_ACL_MODE",
            )
        },
    )]
}

fn judge_template(path: &Path) -> Finding {
    match Template::open(path) {
        Ok(template) if template.grants_devices_nothing() => Finding::warning(
            format!(
                "ACL_TEMPLATE_PATH {} contains no pattern with %u: no device gets a rule from it",
                path.display()
            ),
            "add a line for each type of message, such as: pattern write tenant/%u/telemetry/#",
        ),
        Ok(_) => Finding::ok(format!("ACL_TEMPLATE_PATH {} is valid", path.display())),
        Err(error) => Finding::error(
            error.to_string(),
            "fix the file; until then the lines that were read before stay in force",
        ),
    }
}

fn judge_file(path: &Path, state: &BrokerAclRow) -> Finding {
    let shown = path.display();
    let (Some(digest), Some(form)) = (&state.digest, &state.mode) else {
        let advice = "start `sluice run` with ACL_OUTPUT_PATH set; its log shows the cause";
        return Finding::error("Sluice has not written any access rules yet".to_owned(), advice);
    };
    if let Some(why) = &state.finding {
        return Finding::error(why.clone(), "see the log of the daemon");
    }
    match file::read(path) {
        Ok(found) if found[..] != digest[..] => Finding::error(
            format!("{shown} is not the file that Sluice wrote last"),
            "a running daemon writes it again within seconds; find the other program that writes there",
        ),
        Ok(_) if state.notified_at < state.written_at => Finding::warning(
            format!("{shown} is new, and the broker was not notified yet"),
            "run this command again",
        ),
        Ok(_)
            if form == AclForm::Patterns.label()
                && state.generated.unsigned_abs() >= MOST_DENIALS =>
        {
            Finding::warning(
                format!(
                    "{shown} denies {MAX_DENIED} devices, which is the maximum for the form patterns; further suspended devices may \
                     be missing"
                ),
                "suspend fewer devices, or use Mosquitto 2.1, where each device that may publish has its own rows",
            )
        }
        Ok(_) => Finding::ok(format!(
            "{shown} is the file that Sluice wrote last, in the form {form}: {} lines",
            state.generated
        )),
        Err(fault) => Finding::warning(
            format!("{shown} cannot be compared with the file that Sluice wrote last: {fault}"),
            "run this command where the daemon runs",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::finding::Severity;

    #[test]
    fn a_broker_of_2_1_without_written_rules_is_a_warning() {
        let judge = |text| judge_without_file(Some(&BrokerVersion::read(text))).level;
        assert_eq!(judge("mosquitto version 2.1.2"), Severity::Warning);
        assert_eq!(judge("mosquitto version 2.0.21"), Severity::Ok);
        assert_eq!(judge_without_file(None).level, Severity::Ok);
    }

    #[test]
    fn the_file_is_good_only_when_it_is_the_one_written_last_and_notified_of() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acl");
        std::fs::write(&path, "topic read #\n").unwrap();
        let now = crate::clock::now().to_utc();
        let digest = Some(file::read(&path).unwrap().to_vec());
        let mode = Some("rows".to_owned());
        let good = BrokerAclRow {
            mode,
            digest,
            written_at: Some(now),
            notified_at: Some(now),
            ..BrokerAclRow::default()
        };
        assert_eq!(judge_file(&path, &good).level, Severity::Ok);
        let owed = BrokerAclRow { notified_at: None, ..good.clone() };
        assert_eq!(judge_file(&path, &owed).level, Severity::Warning);
        let faulty = BrokerAclRow { finding: Some("line 3".into()), ..good.clone() };
        assert_eq!(judge_file(&path, &faulty).level, Severity::Error);
        assert_eq!(judge_file(&path, &BrokerAclRow::default()).level, Severity::Error);
        std::fs::write(&path, "topic read a\n").unwrap();
        assert_eq!(judge_file(&path, &good).level, Severity::Error);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(judge_file(&path, &good).level, Severity::Warning);
    }
}
