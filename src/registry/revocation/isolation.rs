//! Proves that the broker isolates devices: a certificate like a device's publishes to its own topic, which must be
//! accepted, and to those of other devices, which must be refused.
//!
//! Each replica looks for itself, after each reload of the broker and every few minutes. It changes nothing at the broker,
//! and what it publishes is empty and below names that no device can have ([`probe`]).

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::sleep;
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
use crate::pki::crl::probe_pair::{self, Canary};
use crate::telemetry::isolation::IsolationMetrics;

/// How often is looked while all is well, ...
const CALM_PERIOD: Duration = Duration::from_mins(3);

/// ... while it is not, or cannot be seen, ...
const ALARMED_PERIOD: Duration = Duration::from_secs(5);

/// ... and how long after a reload: at first, and once more, for a watcher looks every second or two.
const SETTLE: Duration = Duration::from_secs(1);
const SETTLE_AGAIN: Duration = Duration::from_secs(10);

/// What could not be seen so often in a row is a finding: a broker that restarts, or another replica that looks at the same
/// moment under the same name, costs one or two.
const UNSEEN_LIMIT: u32 = 3;

/// Topics that a sentence names.
const NAMED: usize = 3;

/// The part of readiness that this speaks for.
const PART: &str = "isolation";

/// What the broker does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IsolationVerdict {
    /// It accepts a device's own topic and refuses those of others.
    Enforced,
    /// It accepts the topic of another device; a sentence for the operator.
    Broken(String),
    /// It refuses a device its own topic; a sentence for the operator.
    OwnRefused(String),
    /// That could not be seen; a sentence for the operator.
    Unknown(String),
}

/// Looks once.
pub struct Prober {
    address: String,
    ca_cert: Option<PathBuf>,
    settings: CertificatesConfig,
    now: Clock,
    /// The probe's certificate, and since when it is good.
    made: Option<(Canary, Timestamp)>,
}

/// Looks again and again, and says what it sees.
pub struct Isolation {
    prober: Prober,
    recheck: Recheck,
    readiness: Readiness,
    metrics: IsolationMetrics,
    said: Option<String>,
    unseen: u32,
}

// === impl Verdict ===

impl IsolationVerdict {
    /// Its name in the metrics.
    const fn label(&self) -> &'static str {
        match self {
            Self::Enforced => "enforced",
            Self::Broken(_) => "broken",
            Self::OwnRefused(_) => "own_refused",
            Self::Unknown(_) => "unknown",
        }
    }
}

// === impl Prober ===

impl Prober {
    /// None unless the authority and `BROKER_PROBE_ADDR` are set.
    pub fn of(config: &Config, now: Clock) -> Option<Self> {
        let settings = config.certificates.clone();
        let _both = settings.ca_cert_path.as_ref().and(settings.ca_key_path.as_ref())?;
        let of_session = config.broker.tls.as_ref().and_then(|tls| tls.ca_cert.clone());
        let ca_cert = settings.broker_probe_ca_cert.clone().or(of_session);
        let address = settings.broker_probe_addr.clone()?;
        Some(Self { address, ca_cert, settings, now, made: None })
    }

    /// Publishes to all topics and judges the answers.
    pub async fn look(&mut self) -> IsolationVerdict {
        let foreign = probe::foreign_topics();
        match self.ask(&foreign).await {
            Ok((own, others)) => judge(&self.address, own, &foreign, &others),
            Err(why) => IsolationVerdict::Unknown(format!(
                "whether the broker isolates devices cannot be seen at BROKER_PROBE_ADDR {}: {why}",
                self.address
            )),
        }
    }

    /// The answer for the own topic, and those for the foreign ones.
    async fn ask(&mut self, foreign: &[String]) -> Result<(PublishAnswer, Vec<PublishAnswer>), String> {
        self.renew().await?;
        let Some((probe, _)) = &self.made else { return Err("there is no certificate to look with".to_owned()) };
        let door = TlsListenerAddress { address: &self.address, ca_cert: self.ca_cert.as_deref() };
        let (certificate, key) = (probe.certificate.der(), probe.key.expose());
        let mut topics = vec![probe::OWN_TOPIC.to_owned()];
        topics.extend_from_slice(foreign);
        let answers = isolation_probe::publish_to(door, probe::IDENTITY, certificate, key, &topics).await?;
        let (own, mut others) =
            answers.split_first().map(|(own, others)| (*own, others.to_vec())).ok_or("no answer")?;
        // Where a device may choose its client id, a rule that goes by it opens the topics of whoever is named there.
        let another = probe::FOREIGN_IDENTITIES[0];
        if let Ok(answers) = isolation_probe::publish_to(door, another, certificate, key, foreign).await {
            for (seen, answer) in others.iter_mut().zip(answers) {
                *seen = if answer == PublishAnswer::Accepted { answer } else { *seen };
            }
        }
        Ok((own, others))
    }

    /// Makes the certificate when there is none, or it has lived for half its time.
    async fn renew(&mut self) -> Result<(), String> {
        let now = (self.now)();
        let is_good = |since: Timestamp| now >= since && now < since.plus_seconds(probe_pair::VALIDITY_SECONDS / 2);
        if self.made.as_ref().is_none_or(|(_, since)| !is_good(*since)) {
            let authority = crl::authority(&self.settings, now.into()).await.map_err(|error| error.to_string())?;
            let made = probe_pair::make_probe(&authority, now).map_err(|error| error.to_string())?;
            self.made = Some((made, now));
        }
        Ok(())
    }
}

// === impl Isolation ===

impl Isolation {
    /// None unless there is something to look with, and a place to look at.
    pub fn new(
        config: &Config,
        recheck: Recheck,
        metrics: IsolationMetrics,
        readiness: Readiness,
        now: Clock,
    ) -> Option<Self> {
        let prober = Prober::of(config, now)?;
        Some(Self { prober, recheck, readiness, metrics, said: None, unseen: 0 })
    }

    /// Runs until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut looks_soon = false;
        loop {
            let verdict = tokio::select! {
                () = stop.cancelled() => return,
                verdict = self.prober.look() => verdict,
            };
            let pause = match verdict {
                IsolationVerdict::Enforced if looks_soon => SETTLE_AGAIN,
                IsolationVerdict::Enforced => CALM_PERIOD,
                _ => ALARMED_PERIOD,
            };
            self.tell(verdict);
            looks_soon = tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => false,
                () = self.asked_and_settled() => true,
            };
        }
    }

    async fn asked_and_settled(&self) {
        self.recheck.asked().await;
        sleep(SETTLE).await;
    }

    /// Says it in the metrics and in readiness, and in the log when it changes.
    fn tell(&mut self, verdict: IsolationVerdict) {
        self.metrics.count(verdict.label());
        match verdict {
            IsolationVerdict::Enforced => {
                self.unseen = 0;
                self.metrics.enforced.set(1);
                self.readiness.well(PART);
                if self.said.take().is_some() {
                    tracing::info!("the broker isolates devices again");
                }
            }
            IsolationVerdict::Unknown(why) => {
                self.unseen = self.unseen.saturating_add(1);
                // What was found before still holds.
                if self.unseen >= UNSEEN_LIMIT {
                    self.trouble(why);
                }
            }
            IsolationVerdict::Broken(why) | IsolationVerdict::OwnRefused(why) => {
                self.unseen = 0;
                self.trouble(why);
            }
        }
    }

    fn trouble(&mut self, why: String) {
        self.metrics.enforced.set(0);
        self.readiness.unwell(PART, why.clone());
        if self.said.as_ref() != Some(&why) {
            tracing::error!(%why, "that the broker isolates devices is not proven; it is looked at every few seconds");
            self.said = Some(why);
        }
    }
}

// --- private helpers ---

fn judge(address: &str, own: PublishAnswer, topics: &[String], others: &[PublishAnswer]) -> IsolationVerdict {
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
            "devices cannot publish: the broker at {address} refuses a valid certificate its own topic {} (user name {}). \
             Check the access rules of that listener: on Mosquitto 2.0 `pattern write tenant/%u/telemetry/#`; on 2.1, where \
             %u no longer matches a name with slashes, rows for each device and for this name",
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
            "whether the broker at {address} isolates devices cannot be seen: it answers a message with code 0x{code:02X}, \
             which neither accepts nor refuses it"
        )),
        None => IsolationVerdict::Enforced,
    }
}

fn broken(address: &str, accepted: &[&str]) -> String {
    let named = accepted.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    let more = match accepted.len().saturating_sub(NAMED) {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    format!(
        "devices are not isolated: the broker at {address} lets a device publish as another one ({named}{more} accepted from \
         the user name {}). Check the access rules of that listener: there must be some (with per_listener_settings each \
         listener needs its own acl_file), no `+` may stand before `%u` or in its place, and none may go by %c unless \
         use_username_as_clientid is true",
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
        assert_eq!(judged(PublishAnswer::Accepted, PublishAnswer::Refused), IsolationVerdict::Enforced);
        for own in [PublishAnswer::Accepted, PublishAnswer::Refused, PublishAnswer::Other(0x80)] {
            let IsolationVerdict::Broken(why) = judged(own, PublishAnswer::Accepted) else { panic!("{own:?}") };
            assert!(why.contains("tenant/$sluice/device/foreign/heartbeat accepted"), "{why}");
        }
        let IsolationVerdict::OwnRefused(why) = judged(PublishAnswer::Refused, PublishAnswer::Refused) else {
            panic!("own")
        };
        assert!(why.contains("devices cannot publish"), "{why}");
        let IsolationVerdict::Unknown(why) = judged(PublishAnswer::Accepted, PublishAnswer::Other(0x97)) else {
            panic!("odd")
        };
        assert!(why.contains("0x97"), "{why}");
    }

    #[test]
    fn many_topics_are_counted_and_few_are_named() {
        let topics = probe::foreign_topics();
        let IsolationVerdict::Broken(why) =
            judge("b:1", PublishAnswer::Accepted, &topics, &vec![PublishAnswer::Accepted; topics.len()])
        else {
            panic!("isolated")
        };
        assert!(why.contains("and 11 more accepted"), "{why}");
    }
}
