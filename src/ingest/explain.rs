//! Why a message is accepted or refused: every check in order, with its verdict.
//!
//! It uses the parser and the authorizer of the spine; it has no rules of its own.

use super::authorize::auto_provision::once_enrolled;
use super::authorize::judge::{AuthRequirements, Authentication, PublishedBy};
use super::parse::ParseLimits;
use super::parse::parsed::{ParseOutcome, Parsed};
use crate::config::sections::ingest::IngestConfig;
use crate::config::sections::plugin::PublisherProof;
use crate::domain::device::RegistryAnswer;
use crate::domain::ids::DeviceKey;
use crate::domain::message::Delivery;
use crate::domain::ports::{Directory, Outage};
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::time::Timestamp;

/// Verdict of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExplainVerdict {
    /// Passed.
    Passed,
    /// Failed: it refuses the message.
    Refused,
    /// Not reached: an earlier check refused the message.
    NotReached,
    /// Unknown until the message is stored.
    NotTried,
    /// Not applicable: the sender is authenticated otherwise, or the check is off.
    NotNeeded,
}

/// One check and its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// Reason of the refusal if the check fails.
    pub reason: Reason,
    /// Its verdict.
    pub verdict: ExplainVerdict,
}

/// The explanation of one message.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The device, if the topic names one.
    pub device: Option<DeviceKey>,
    /// The registry's answer, if it was queried.
    pub answer: Option<RegistryAnswer>,
    /// The same for a publisher that is a gateway.
    pub gateway: Option<RegistryAnswer>,
    /// The checks, in order.
    pub checks: Vec<Check>,
    /// The outcome.
    pub end: End,
}

/// Outcome of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Published by the platform itself.
    Ignored,
    /// Stored, authenticated by this proof.
    Accepted(Authentication),
    /// Quarantined.
    Refused(Refusal),
}

/// Decides one message as the spine would at `now`, and explains it.
pub async fn explain<D: Directory>(
    directory: &D,
    config: &IngestConfig,
    delivery: &Delivery,
    now: Timestamp,
) -> Result<Explanation, Outage> {
    let parsed = match ParseLimits::from(config).parse(delivery) {
        ParseOutcome::Ignored => return Ok(Explanation::new(config, None, None, End::Ignored)),
        ParseOutcome::Refused(refusal, _) => {
            let device = crate::domain::topic::Topic::parse(&delivery.topic).ok();
            let device = device.and_then(|topic| DeviceKey::new(topic.tenant, topic.device).ok());
            return Ok(Explanation::new(config, device, None, End::Refused(refusal)));
        }
        ParseOutcome::Parsed(parsed) => parsed,
    };
    // A parsed message always names its device.
    let Ok(device) = parsed.identity().parse::<DeviceKey>() else {
        let refusal = Refusal::new(Reason::BadTopicFormat, "the topic names no device");
        return Ok(Explanation::new(config, None, None, End::Refused(refusal)));
    };
    let requirements = AuthRequirements::from(config);
    let gateway = requirements.gateway(&delivery.publisher, parsed.identity());
    let keys: Vec<DeviceKey> = [device.clone()].into_iter().chain(gateway).collect();
    let mut answers = directory.find(&keys).await?.into_iter();
    let unknown = RegistryAnswer { tenant_suspended: false, device: None };
    let answer = answers.next().unwrap_or(unknown);
    let gateway = answers.next();
    let sender = PublishedBy { publisher: &delivery.publisher, gateway: gateway.as_ref() };
    let end = decide(config, &parsed, sender, &answer, now);
    Ok(Explanation { gateway, ..Explanation::new(config, Some(device), Some(answer), end) })
}

/// Outcome for a sender with this registry answer; `None` if the sender does not matter.
pub fn end_for(
    config: &IngestConfig,
    delivery: &Delivery,
    (answer, gateway): (&RegistryAnswer, Option<&RegistryAnswer>),
    now: Timestamp,
) -> Option<End> {
    match ParseLimits::from(config).parse(delivery) {
        ParseOutcome::Parsed(parsed) => {
            let sender = PublishedBy { publisher: &delivery.publisher, gateway };
            Some(decide(config, &parsed, sender, answer, now))
        }
        ParseOutcome::Ignored | ParseOutcome::Refused(..) => None,
    }
}

fn decide(
    config: &IngestConfig,
    parsed: &Parsed,
    sender: PublishedBy<'_>,
    answer: &RegistryAnswer,
    now: Timestamp,
) -> End {
    let answer = as_judged(config, parsed, sender, answer, now);
    match AuthRequirements::from(config).judge(parsed, sender, &answer, now) {
        Err(refusal) => End::Refused(refusal),
        Ok(proof) => match parsed.unstorable {
            Some(why) => End::Refused(Refusal::new(Reason::StoreRejected, why)),
            None => End::Accepted(proof),
        },
    }
}

/// The registry answer when this message is authorized: with `AUTO_PROVISION` an unknown device
/// registers itself.
fn as_judged(
    config: &IngestConfig,
    parsed: &Parsed,
    sender: PublishedBy<'_>,
    answer: &RegistryAnswer,
    now: Timestamp,
) -> RegistryAnswer {
    let enrolled = config
        .auto_provision
        .then(|| once_enrolled(&AuthRequirements::from(config), parsed, sender, answer, now))
        .flatten();
    enrolled.unwrap_or_else(|| answer.clone())
}

// === impl Explanation ===

impl Explanation {
    fn new(
        config: &IngestConfig,
        device: Option<DeviceKey>,
        answer: Option<RegistryAnswer>,
        end: End,
    ) -> Self {
        let refused_at = match &end {
            End::Refused(refusal) => Some(refusal.reason),
            End::Accepted(_) | End::Ignored => None,
        };
        let checks = Reason::ALL
            .into_iter()
            .map(|reason| Check { reason, verdict: verdict(config, reason, refused_at, &end) })
            .collect();
        Self { device, answer, gateway: None, checks, end }
    }
}

/// The checks follow the order of the reasons, so the reason of the refusal gives the verdict of
/// each.
fn verdict(
    config: &IngestConfig,
    reason: Reason,
    refused_at: Option<Reason>,
    end: &End,
) -> ExplainVerdict {
    let token_check =
        matches!(reason, Reason::TokenNotSet | Reason::TokenMissing | Reason::TokenInvalid);
    match refused_at {
        Some(refused) if refused == reason => ExplainVerdict::Refused,
        Some(refused) if refused < reason => ExplainVerdict::NotReached,
        _ if *end == End::Ignored && reason != Reason::BadTopicFormat => ExplainVerdict::NotNeeded,
        _ if matches!(reason, Reason::PublisherUnproven | Reason::PublisherMismatch)
            && (config.proofs.mode == PublisherProof::Off
                || *end == End::Accepted(Authentication::Link)) =>
        {
            ExplainVerdict::NotNeeded
        }
        _ if reason == Reason::RateLimited && config.rate_limit.is_none() => {
            ExplainVerdict::NotNeeded
        }
        _ if token_check
            && matches!(
                end,
                End::Accepted(
                    Authentication::Proof(_)
                        | Authentication::Certificate
                        | Authentication::Link
                        | Authentication::NotRequired
                )
            ) =>
        {
            ExplainVerdict::NotNeeded
        }
        // Only the database can tell whether it accepts the row.
        None if reason == Reason::StoreRejected => ExplainVerdict::NotTried,
        _ => ExplainVerdict::Passed,
    }
}
