//! The steps of a revocation for people: what each means, when it was done, or why not and what to
//! do.
//!
//! It advances no step.

use askama::Template;
use chrono::{DateTime, TimeDelta, Utc};

use crate::console::filters;
use crate::http::RevocationView;

/// A step that is not done after this time needs attention.
const PATIENCE: TimeDelta = TimeDelta::seconds(60);

/// The steps as a part of the page.
#[derive(Template)]
#[template(path = "parts/chain.html")]
pub(super) struct ChainPart {
    pub steps: Vec<ChainStep>,
    pub is_proven: bool,
    /// Whether a step failed, or waits too long.
    pub is_stuck: bool,
    pub crl_number: Option<i64>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChainStep {
    pub label: &'static str,
    pub meaning: &'static str,
    pub held_at: Option<DateTime<Utc>>,
    /// "+0.579 s".
    pub after: String,
    pub tone: &'static str,
    pub icon: &'static str,
    /// Why it is not done.
    pub why: String,
    /// What to do.
    pub advice: &'static str,
}

// === impl ChainPart ===

impl ChainPart {
    pub(super) fn of(view: &RevocationView, now: DateTime<Utc>) -> Self {
        let begun = view.links.first().and_then(|link| link.held_at);
        let is_late = begun.is_some_and(|begun| now - begun > PATIENCE);
        let steps: Vec<ChainStep> = view
            .links
            .iter()
            .map(|link| {
                let is_missing = view.missing.as_deref() == Some(&*link.link);
                let why = view.failure.clone().filter(|_| is_missing);
                let is_stuck = is_missing && (why.is_some() || is_late);
                let (label, meaning, advice) = words(&link.link);
                let is_done = link.held_at.is_some() && !is_stuck;
                let (tone, icon) = match (is_done, is_stuck) {
                    (true, _) => ("ok", "check"),
                    (false, true) => ("bad", "cross"),
                    (false, false) => ("off", "wait"),
                };
                let late = "no daemon has reported this step yet";
                ChainStep {
                    label,
                    meaning,
                    held_at: link.held_at,
                    after: link.seconds.map(|s| format!("+{s:.3} s")).unwrap_or_default(),
                    tone,
                    icon,
                    why: why.or_else(|| is_stuck.then(|| late.to_owned())).unwrap_or_default(),
                    advice: if is_stuck { advice } else { "" },
                }
            })
            .collect();
        let is_stuck = steps.iter().any(|step| step.tone == "bad");
        Self { steps, is_proven: view.proven, is_stuck, crl_number: view.crl_number }
    }
}

// === private helpers ===

/// The label of a step, what it means, and what to do where it fails.
fn words(link: &str) -> (&'static str, &'static str, &'static str) {
    match link {
        "revoked" => (
            "Row",
            "every replica refuses the certificate's messages",
            "Check that Postgres answers.",
        ),
        "published" => (
            "CRL",
            "a CRL with the certificate is in the file of the broker",
            "Check that a daemon runs with DEVICE_CA_CERT_PATH, DEVICE_CA_KEY_PATH and CRL_OUTPUT_PATH for the \
             authority that issued the certificate. Then run: sluice crl publish.",
        ),
        "reloaded" => (
            "Reload",
            "the broker was notified to read the file",
            "Check BROKER_PID_FILE or BROKER_RELOAD_COMMAND, and that `crlfile` in the configuration of Mosquitto is \
             the file that CRL_OUTPUT_PATH names. Sluice tries again by itself; to reload now, send SIGHUP to \
             Mosquitto.",
        ),
        "ended" => (
            "Session",
            "the live session of the device has ended",
            "Check that Sluice can connect to BROKER_PROBE_ADDR; it ends a session by taking over its client id. To \
             end it now, restart Mosquitto.",
        ),
        _ => (
            "Proof",
            "the broker refused a certificate of that CRL and accepted a valid one",
            "Set BROKER_PROBE_ADDR and BROKER_PROBE_CA_CERT to the TLS listener of the devices, so that Sluice can \
             check it.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(json: &str) -> RevocationView {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_step_that_fails_says_why_and_what_to_do() {
        let failing = view(
            r#"{"certificate_id":"00000000-0000-0000-0000-000000000001","proven":false,"missing":"reloaded",
            "failure":"accepts it","crl_number":7,"links":[
            {"link":"revoked","held_at":"2026-11-01T00:00:00Z","seconds":0.0},
            {"link":"published","held_at":"2026-11-01T00:00:01Z","seconds":0.579},
            {"link":"reloaded","held_at":"2026-11-01T00:00:01Z","seconds":0.6},
            {"link":"ended","held_at":null,"seconds":null},{"link":"proven","held_at":null,"seconds":null}]}"#,
        );
        let now = "2026-11-01T00:00:05Z".parse().unwrap();
        let part = ChainPart::of(&failing, now);
        assert!(part.is_stuck && !part.is_proven);
        let tones: Vec<_> = part.steps.iter().map(|step| step.tone).collect();
        assert_eq!(tones, ["ok", "ok", "bad", "off", "off"]);
        assert_eq!(part.steps[1].after, "+0.579 s");
        assert_eq!(part.steps[2].why, "accepts it");
        assert!(part.steps[2].advice.contains("crlfile"), "{}", part.steps[2].advice);

        let mut silent = failing;
        silent.failure = None;
        assert!(!ChainPart::of(&silent, now).is_stuck);
        let later = "2026-11-01T00:02:00Z".parse().unwrap();
        assert!(ChainPart::of(&silent, later).steps[2].why.contains("no daemon"));
    }
}
