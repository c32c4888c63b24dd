//! Chooses the form of the access rules, patterns or rows, by the version that the broker reports.
//!
//! It queries the broker periodically, because a broker may be upgraded while Sluice runs. It
//! writes nothing.

use std::time::Duration;

use tokio::time::Instant;

use crate::broker::tools::version::{self, BrokerVersion};
use crate::config::sections::broker::BrokerConfig;
use crate::config::sections::broker_acl::AclMode;

/// Time between two version queries after an answer.
const PERIOD_WHEN_KNOWN: Duration = Duration::from_mins(1);

/// Time between two version queries without an answer.
const PERIOD_WHEN_UNKNOWN: Duration = Duration::from_secs(5);

/// The form of a device's rights in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AclForm {
    /// One pattern for all devices; a device that may not publish is denied by name.
    Patterns,
    /// Rows for each device that may publish.
    Rows,
}

/// The chosen form, and any doubt about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormDecision {
    /// The form.
    pub form: AclForm,
    /// Why the form may be wrong; `None` means that it is right.
    pub finding: Option<String>,
}

/// Finds the form that the broker needs.
#[derive(Debug)]
pub struct FormFinder {
    mode: AclMode,
    broker: BrokerConfig,
    version: Option<BrokerVersion>,
    trouble: Option<String>,
    queried_at: Option<Instant>,
}

// === impl FormFinder ===

impl FormFinder {
    pub(super) fn new(mode: AclMode, broker: BrokerConfig) -> Self {
        Self { mode, broker, version: None, trouble: None, queried_at: None }
    }

    /// Queries the broker's version if that is due.
    pub(super) async fn query_when_due(&mut self) {
        let period = if self.trouble.is_none() { PERIOD_WHEN_KNOWN } else { PERIOD_WHEN_UNKNOWN };
        if self.queried_at.is_some_and(|queried_at| queried_at.elapsed() < period) {
            return;
        }
        let answer = version::query(&self.broker).await;
        self.queried_at = Some(Instant::now());
        match answer {
            Ok(version) => {
                if self.version.as_ref() != Some(&version) {
                    tracing::info!(%version, "the broker reported its version");
                }
                (self.version, self.trouble) = (Some(version), None);
            }
            // The last reported version is assumed to be current.
            Err(why) => self.trouble = Some(why),
        }
    }

    /// The last version that the broker reported.
    pub(super) const fn version(&self) -> Option<&BrokerVersion> {
        self.version.as_ref()
    }

    pub(super) fn decide(&self, last: Option<AclForm>) -> FormDecision {
        decide(
            self.mode,
            self.version.as_ref().ok_or_else(|| self.trouble.clone().unwrap_or_default()),
            last,
        )
    }
}

/// Decides the form for `version`. Its error says why it is unknown; the form is then the one of
/// the last file.
pub fn decide(
    mode: AclMode,
    version: Result<&BrokerVersion, String>,
    last: Option<AclForm>,
) -> FormDecision {
    let (form, finding) = match (mode, version) {
        (AclMode::Rows, _) => (AclForm::Rows, None),
        (AclMode::Patterns, Ok(version)) if version.patterns_match_slashes() == Some(false) => {
            let why = format!(
                "BROKER_ACL_MODE=patterns does not fit the broker, {version}: there, %u in a \
                 pattern matches no name with slashes, so no device can publish; set \
                 BROKER_ACL_MODE to auto or rows"
            );
            (AclForm::Patterns, Some(why))
        }
        (AclMode::Patterns, _) => (AclForm::Patterns, None),
        (AclMode::Auto, Ok(version)) => match version.patterns_match_slashes() {
            Some(true) => (AclForm::Patterns, None),
            Some(false) => (AclForm::Rows, None),
            None => {
                let why = format!(
                    "BROKER_ACL_MODE=auto cannot choose a form: the broker reports {:?}, which is \
                     not Mosquitto; set BROKER_ACL_MODE to patterns or rows",
                    version.to_string()
                );
                (last.unwrap_or(AclForm::Patterns), Some(why))
            }
        },
        // Every broker starts with a first file of patterns.
        (AclMode::Auto, Err(why)) => {
            let form = last.unwrap_or(AclForm::Patterns);
            (
                form,
                Some(format!(
                    "{why}; until then, Sluice writes the access rules as {}",
                    form.label()
                )),
            )
        }
    };
    FormDecision { form, finding }
}

// === impl AclForm ===

impl AclForm {
    /// The name in the database, in settings and in messages.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Patterns => "patterns",
            Self::Rows => "rows",
        }
    }

    /// The form with this name; `None` means that there is none.
    pub fn from_label(label: &str) -> Option<Self> {
        [Self::Patterns, Self::Rows].into_iter().find(|form| form.label() == label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_goes_by_the_setting_then_by_the_version_then_by_the_last_file() {
        let [old, new, strange] =
            ["mosquitto version 2.0.21", "mosquitto version 2.1.2", "VerneMQ"]
                .map(BrokerVersion::read);
        let unknown = || Err("the broker is away".to_owned());
        let rows = Some(AclForm::Rows);
        for (mode, version, last, form, words) in [
            (AclMode::Auto, Ok(&old), rows, AclForm::Patterns, None),
            (AclMode::Auto, Ok(&new), None, AclForm::Rows, None),
            (AclMode::Auto, Ok(&strange), rows, AclForm::Rows, Some("not Mosquitto")),
            (
                AclMode::Auto,
                unknown(),
                rows,
                AclForm::Rows,
                Some("away; until then, Sluice writes the access rules as rows"),
            ),
            (
                AclMode::Auto,
                unknown(),
                None,
                AclForm::Patterns,
                Some("writes the access rules as patterns"),
            ),
            (AclMode::Rows, unknown(), None, AclForm::Rows, None),
            (AclMode::Patterns, Ok(&old), rows, AclForm::Patterns, None),
            (AclMode::Patterns, Ok(&new), None, AclForm::Patterns, Some("no device can publish")),
        ] {
            let decision = decide(mode, version, last);
            assert_eq!(decision.form, form, "{decision:?}");
            let is_said = words.is_none_or(|words| {
                decision.finding.as_ref().is_some_and(|why| why.contains(words))
            });
            assert!(is_said && decision.finding.is_some() == words.is_some(), "{decision:?}");
        }
    }
}
