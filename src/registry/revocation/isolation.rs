//! Proves that the broker isolates devices: a probe certificate publishes to its own topic, which
//! must be accepted, and to topics of other devices, which must be refused.
//!
//! Every replica probes after each reload and every few minutes. It changes nothing at the broker.
//! Its messages are empty, under names that no device can have ([`probe`]).

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::broker_reload::Recheck;
use super::crl;
use crate::broker::tools::certificate_probe::TlsListenerAddress;
use crate::broker::tools::isolation_probe::{self, PublishAnswer};
use crate::config::Config;
use crate::config::sections::certificates::CertificatesConfig;
use crate::domain::probe;
use crate::domain::time::{Clock, Timestamp};
use crate::lifecycle::Readiness;
use crate::lifecycle::health_reporter::{HealthReporter, HealthTexts};
use crate::pki::crl::probe_pair::{self, Canary};
use crate::plugin_link::PluginControl;
use crate::plugin_link::control::ProbeUse;
use crate::registry::health;
use crate::telemetry::isolation::IsolationMetrics;

/// Time between two probes while devices are isolated.
const PERIOD_WHEN_ISOLATED: Duration = Duration::from_mins(3);

/// Time between two probes after any other verdict.
const PERIOD_OTHERWISE: Duration = Duration::from_secs(5);

/// Delays of two probes after a reload: a watcher polls every second or two.
const SETTLE: Duration = Duration::from_secs(1);
const SETTLE_AGAIN: Duration = Duration::from_secs(10);

/// Failed probes in a row that make a finding. A restart of the broker, or another replica that
/// probes under the same name, costs one or two.
const UNSEEN_LIMIT: u32 = 3;

/// Most topics that a sentence names.
const MAX_NAMED: usize = 3;

/// The component of readiness, and its sentences.
const COMPONENT: &str = "isolation";
const HEALTH: HealthTexts = HealthTexts {
    failed: "device isolation is not proven",
    action: "Sluice probes again every few seconds",
    recovered: "the broker isolates devices again",
};

/// The verdict of one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IsolationVerdict {
    /// The broker accepts a device's own topic and refuses those of others.
    Enforced,
    /// The broker accepts the topic of another device; the text is for the operator.
    Broken(String),
    /// The broker refuses a device its own topic; the text is for the operator.
    OwnRefused(String),
    /// The probe failed; the text is for the operator.
    Unknown(String),
}

/// Runs one probe.
pub struct IsolationProbe {
    listener: TlsListenerAddress,
    settings: CertificatesConfig,
    now: Clock,
    /// The probe certificate and the start of its validity.
    made: Option<(Canary, Timestamp)>,
    plugins: PluginControl,
}

/// Probes periodically and reports the verdicts.
pub struct Isolation {
    prober: IsolationProbe,
    recheck: Recheck,
    health: HealthReporter,
    metrics: IsolationMetrics,
    unseen: u32,
}

// === impl IsolationVerdict ===

impl IsolationVerdict {
    /// The label in the metrics.
    const fn label(&self) -> &'static str {
        match self {
            Self::Enforced => "enforced",
            Self::Broken(_) => "broken",
            Self::OwnRefused(_) => "own_refused",
            Self::Unknown(_) => "unknown",
        }
    }
}

// === impl IsolationProbe ===

impl IsolationProbe {
    /// `None` means that the authority or `BROKER_PROBE_ADDR` is unset.
    pub fn of(config: &Config, now: Clock) -> Option<Self> {
        let settings = config.certificates.clone();
        let _both = settings.ca_cert_path.as_ref().and(settings.ca_key_path.as_ref())?;
        let listener = TlsListenerAddress::of(config)?;
        Some(Self { listener, settings, now, made: None, plugins: PluginControl::default() })
    }

    /// Publishes to all topics and judges the answers.
    pub async fn run(&mut self) -> IsolationVerdict {
        let foreign = probe::foreign_topics();
        match self.publish_all(&foreign).await {
            Ok((own, others)) => judge(&self.listener.address, own, &foreign, &others),
            Err(why) => IsolationVerdict::Unknown(format!(
                "the probe at BROKER_PROBE_ADDR {} cannot tell whether the broker isolates \
                 devices: {why}",
                self.listener.address
            )),
        }
    }

    /// Returns the answer for the own topic, and the answers for `foreign`.
    async fn publish_all(
        &mut self,
        foreign: &[String],
    ) -> Result<(PublishAnswer, Vec<PublishAnswer>), String> {
        self.renew().await?;
        let Some((probe, _)) = &self.made else {
            return Err("there is no probe certificate".to_owned());
        };
        let listener = self.listener.clone();
        let (certificate, key) = (probe.certificate.der(), probe.key.expose());
        let mut topics = vec![probe::OWN_TOPIC.to_owned()];
        topics.extend_from_slice(foreign);
        let answers =
            isolation_probe::publish_to(&listener, probe::IDENTITY, certificate, key, &topics)
                .await?;
        let (own, mut others) = answers
            .split_first()
            .map(|(own, others)| (*own, others.to_vec()))
            .ok_or("the broker did not answer")?;
        // A rule with %c opens the topics of any client id that a device may choose.
        let other_identity = probe::FOREIGN_IDENTITIES[0];
        if let Ok(answers) =
            isolation_probe::publish_to(&listener, other_identity, certificate, key, foreign).await
        {
            for (seen, answer) in others.iter_mut().zip(answers) {
                *seen = if answer == PublishAnswer::Accepted { answer } else { *seen };
            }
        }
        Ok((own, others))
    }

    /// Makes a probe certificate if there is none or half of its lifetime has passed.
    async fn renew(&mut self) -> Result<(), String> {
        let now = (self.now)();
        let is_good = |since: Timestamp| {
            now >= since && now < since.plus_seconds(probe_pair::VALIDITY_SECONDS / 2)
        };
        if self.made.as_ref().is_none_or(|(_, since)| !is_good(*since)) {
            let authority = crl::authority(&self.settings, now.into())
                .await
                .map_err(|error| error.to_string())?;
            let made =
                probe_pair::make_probe(&authority, now).map_err(|error| error.to_string())?;
            self.plugins.admit(ProbeUse::Isolation, &made.certificate);
            self.made = Some((made, now));
        }
        Ok(())
    }
}

// === impl Isolation ===

impl Isolation {
    /// `None` means that there is no authority or no listener to probe.
    pub fn new(
        config: &Config,
        recheck: Recheck,
        metrics: IsolationMetrics,
        readiness: Readiness,
        now: Clock,
    ) -> Option<Self> {
        let prober = IsolationProbe::of(config, now)?;
        let health = health::reporter(COMPONENT, readiness, HEALTH);
        Some(Self { prober, recheck, health, metrics, unseen: 0 })
    }

    /// Admits its probe at the broker's plugins.
    #[must_use]
    pub fn with_plugins(mut self, plugins: PluginControl) -> Self {
        self.prober.plugins = plugins;
        self
    }

    /// Probes until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut is_recheck = false;
        loop {
            let verdict = tokio::select! {
                () = stop.cancelled() => return,
                verdict = self.prober.run() => verdict,
            };
            let pause = match verdict {
                IsolationVerdict::Enforced if is_recheck => SETTLE_AGAIN,
                IsolationVerdict::Enforced => PERIOD_WHEN_ISOLATED,
                _ => PERIOD_OTHERWISE,
            };
            self.report(verdict);
            is_recheck = tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => false,
                () = self.recheck_requested() => true,
            };
        }
    }

    async fn recheck_requested(&self) {
        self.recheck.requested().await;
        sleep(SETTLE).await;
    }

    /// Reports the verdict in metrics and readiness, and in the log when it changes.
    fn report(&mut self, verdict: IsolationVerdict) {
        self.metrics.count(verdict.label());
        match verdict {
            IsolationVerdict::Enforced => {
                self.unseen = 0;
                self.metrics.enforced.set(1);
                self.health.worked(Instant::now().into_std());
            }
            IsolationVerdict::Unknown(why) => {
                self.unseen = self.unseen.saturating_add(1);
                // Until then the earlier verdict stays.
                if self.unseen >= UNSEEN_LIMIT {
                    self.report_fault(&why);
                }
            }
            IsolationVerdict::Broken(why) | IsolationVerdict::OwnRefused(why) => {
                self.unseen = 0;
                self.report_fault(&why);
            }
        }
    }

    fn report_fault(&mut self, why: &str) {
        self.metrics.enforced.set(0);
        self.health.failed(why, Instant::now().into_std());
    }
}

// --- private helpers ---

fn judge(
    address: &str,
    own: PublishAnswer,
    topics: &[String],
    others: &[PublishAnswer],
) -> IsolationVerdict {
    let accepted: Vec<&str> = topics
        .iter()
        .zip(others)
        .filter(|(_, answer)| **answer == PublishAnswer::Accepted)
        .map(|(topic, _)| topic.as_str())
        .collect();
    if !accepted.is_empty() {
        return IsolationVerdict::Broken(broken(address, &accepted));
    }
    if own == PublishAnswer::Refused {
        return IsolationVerdict::OwnRefused(format!(
            "devices cannot publish: the broker at {address} refuses a valid certificate its own \
             topic {} (user name {}). Check the access rules of that listener. Mosquitto 2.0 \
             needs `pattern write tenant/%u/telemetry/#`. Mosquitto 2.1, where %u matches no name \
             with slashes, needs rows for each device and for this name",
            probe::OWN_TOPIC,
            probe::IDENTITY
        ));
    }
    let odd = std::iter::once(&own).chain(others).find_map(|answer| match answer {
        PublishAnswer::Other(code) => Some(code),
        PublishAnswer::Accepted | PublishAnswer::Refused => None,
    });
    match odd {
        Some(code) => IsolationVerdict::Unknown(format!(
            "the probe cannot tell whether the broker at {address} isolates devices: the broker \
             answers a message with code 0x{code:02X}, which neither accepts nor refuses it"
        )),
        None => IsolationVerdict::Enforced,
    }
}

fn broken(address: &str, accepted: &[&str]) -> String {
    let named = accepted.iter().take(MAX_NAMED).copied().collect::<Vec<_>>().join(", ");
    let more = match accepted.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    format!(
        "devices are not isolated: the broker at {address} lets a device publish as another one \
         ({named}{more} accepted from the user name {}). Check the access rules of that listener. \
         It needs rules (with per_listener_settings, its own acl_file). No `+` may stand before \
         or instead of `%u`. No rule may use %c unless use_username_as_clientid is true",
        probe::IDENTITY
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(own: PublishAnswer, other: PublishAnswer) -> IsolationVerdict {
        let topics = probe::foreign_topics();
        let mut others = vec![PublishAnswer::Refused; topics.len()];
        others[1] = other;
        judge("b:1", own, &topics, &others)
    }

    #[test]
    fn each_outcome_has_its_own_sentence_and_a_foreign_topic_weighs_most() {
        assert_eq!(
            judged(PublishAnswer::Accepted, PublishAnswer::Refused),
            IsolationVerdict::Enforced
        );
        for own in [PublishAnswer::Accepted, PublishAnswer::Refused, PublishAnswer::Other(0x80)] {
            let IsolationVerdict::Broken(why) = judged(own, PublishAnswer::Accepted) else {
                panic!("{own:?}")
            };
            assert!(why.contains("tenant/$sluice/device/foreign/heartbeat accepted"), "{why}");
        }
        let IsolationVerdict::OwnRefused(why) =
            judged(PublishAnswer::Refused, PublishAnswer::Refused)
        else {
            panic!("own")
        };
        assert!(why.contains("devices cannot publish"), "{why}");
        let IsolationVerdict::Unknown(why) =
            judged(PublishAnswer::Accepted, PublishAnswer::Other(0x97))
        else {
            panic!("odd")
        };
        assert!(why.contains("0x97"), "{why}");
    }

    #[test]
    fn many_topics_are_counted_and_few_are_named() {
        let topics = probe::foreign_topics();
        let IsolationVerdict::Broken(why) = judge(
            "b:1",
            PublishAnswer::Accepted,
            &topics,
            &vec![PublishAnswer::Accepted; topics.len()],
        ) else {
            panic!("isolated")
        };
        assert!(why.contains("and 13 more accepted"), "{why}");
    }
}
