//! In which form the access rules are written: as patterns or as rows, by the version that the broker states.
//!
//! It asks the broker now and then, for a broker may be updated while Sluice runs. It writes nothing.

use std::time::Duration;

use tokio::time::Instant;

use crate::broker::tools::version::{self, BrokerVersion};
use crate::config::sections::broker::BrokerConfig;
use crate::config::sections::broker_acl::AclMode;

/// How often the broker is asked for its version, ...
const CALM_PERIOD: Duration = Duration::from_mins(1);

/// ... and while it has not stated one.
const ALARMED_PERIOD: Duration = Duration::from_secs(5);

/// How a device's rights are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AclForm {
    /// One pattern for all devices; those that may not publish are denied one by one.
    Patterns,
    /// Rows for each device that may publish.
    Rows,
}

/// A form, and what is to be said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormDecision {
    /// The form.
    pub form: AclForm,
    /// Why it may be the wrong one; none: it is the right one.
    pub finding: Option<String>,
}

/// Finds out which form the broker needs.
#[derive(Debug)]
pub struct FormFinder {
    mode: AclMode,
    broker: BrokerConfig,
    version: Option<BrokerVersion>,
    trouble: Option<String>,
    asked: Option<Instant>,
}

// === impl FormFinder ===

impl FormFinder {
    pub(super) fn new(mode: AclMode, broker: BrokerConfig) -> Self {
        Self { mode, broker, version: None, trouble: None, asked: None }
    }

    /// Asks the broker when that is due.
    pub(super) async fn ask_when_due(&mut self) {
        let period = if self.trouble.is_none() { CALM_PERIOD } else { ALARMED_PERIOD };
        if self.asked.is_some_and(|asked| asked.elapsed() < period) {
            return;
        }
        let answer = version::ask(&self.broker).await;
        self.asked = Some(Instant::now());
        match answer {
            Ok(version) => {
                if self.version.as_ref() != Some(&version) {
                    tracing::info!(%version, "the broker states its version");
                }
                (self.version, self.trouble) = (Some(version), None);
            }
            // What it stated before is taken to be true still.
            Err(why) => self.trouble = Some(why),
        }
    }

    /// What the broker stated.
    pub(super) const fn version(&self) -> Option<&BrokerVersion> {
        self.version.as_ref()
    }

    pub(super) fn decide(&self, last: Option<AclForm>) -> FormDecision {
        decide(self.mode, self.version.as_ref().ok_or_else(|| self.trouble.clone().unwrap_or_default()), last)
    }
}

/// The form for a broker of this version; an error says why it is not known, and the form is then that of the last file.
pub fn decide(mode: AclMode, version: Result<&BrokerVersion, String>, last: Option<AclForm>) -> FormDecision {
    let (form, finding) = match (mode, version) {
        (AclMode::Rows, _) => (AclForm::Rows, None),
        (AclMode::Patterns, Ok(version)) if version.patterns_match_slashes() == Some(false) => {
            let why = format!(
                "BROKER_ACL_MODE=patterns and the broker is {version}, where %u in a pattern matches no name with \
                 slashes, so that no device can publish: set it to auto or rows"
            );
            (AclForm::Patterns, Some(why))
        }
        (AclMode::Patterns, _) => (AclForm::Patterns, None),
        (AclMode::Auto, Ok(version)) => match version.patterns_match_slashes() {
            Some(true) => (AclForm::Patterns, None),
            Some(false) => (AclForm::Rows, None),
            None => {
                let why = format!(
                    "BROKER_ACL_MODE=auto and the broker states {:?}, which is no Mosquitto: set it to patterns or rows",
                    version.to_string()
                );
                (last.unwrap_or(AclForm::Patterns), Some(why))
            }
        },
        // A first file of patterns is one that each broker starts with.
        (AclMode::Auto, Err(why)) => {
            let form = last.unwrap_or(AclForm::Patterns);
            (form, Some(format!("{why}; the access rules are written as {} until then", form.label())))
        }
    };
    FormDecision { form, finding }
}

// === impl AclForm ===

impl AclForm {
    /// Its name in the table, in settings and in messages.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Patterns => "patterns",
            Self::Rows => "rows",
        }
    }

    /// The form of that name.
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
            ["mosquitto version 2.0.21", "mosquitto version 2.1.2", "VerneMQ"].map(BrokerVersion::read);
        let unknown = || Err("the broker is away".to_owned());
        let rows = Some(AclForm::Rows);
        for (mode, version, last, form, words) in [
            (AclMode::Auto, Ok(&old), rows, AclForm::Patterns, None),
            (AclMode::Auto, Ok(&new), None, AclForm::Rows, None),
            (AclMode::Auto, Ok(&strange), rows, AclForm::Rows, Some("no Mosquitto")),
            (AclMode::Auto, unknown(), rows, AclForm::Rows, Some("away; the access rules are written as rows")),
            (AclMode::Auto, unknown(), None, AclForm::Patterns, Some("as patterns until then")),
            (AclMode::Rows, unknown(), None, AclForm::Rows, None),
            (AclMode::Patterns, Ok(&old), rows, AclForm::Patterns, None),
            (AclMode::Patterns, Ok(&new), None, AclForm::Patterns, Some("no device can publish")),
        ] {
            let decision = decide(mode, version, last);
            assert_eq!(decision.form, form, "{decision:?}");
            let is_said = words.is_none_or(|words| decision.finding.as_ref().is_some_and(|why| why.contains(words)));
            assert!(is_said && decision.finding.is_some() == words.is_some(), "{decision:?}");
        }
    }
}
