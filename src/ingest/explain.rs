//! Why a message is taken or refused: every check in its order, with its verdict.
//!
//! It asks the same parser and the same judge as the spine; there is no second opinion here.

use super::authorize::auto_provision::once_enrolled;
use super::authorize::judge::{AuthRequirements, Authentication};
use super::parse::{ParseLimits, ParseOutcome, Parsed};
use crate::config::sections::ingest::IngestConfig;
use crate::domain::device::RegistryAnswer;
use crate::domain::ids::DeviceKey;
use crate::domain::message::Delivery;
use crate::domain::ports::{Directory, Outage};
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::time::Timestamp;

/// What came of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExplainVerdict {
    /// It held.
    Passed,
    /// It refused the message.
    Refused,
    /// An earlier check had refused it already.
    NotReached,
    /// It can only be found out by doing it.
    NotTried,
    /// It does not apply: the sender proved itself otherwise, or the check is switched off.
    NotNeeded,
}

/// One check and its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// The reason it would have given.
    pub reason: Reason,
    /// What came of it.
    pub verdict: ExplainVerdict,
}

/// The whole explanation.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Who is said to send it, when the topic tells.
    pub device: Option<DeviceKey>,
    /// What the registry says of it, when it was asked.
    pub standing: Option<RegistryAnswer>,
    /// The checks, in order.
    pub checks: Vec<Check>,
    /// How it ends.
    pub end: End,
}

/// How a message would end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The platform's own voice.
    Ignored,
    /// Stored, believed by this proof.
    Accepted(Authentication),
    /// Quarantined.
    Refused(Refusal),
}

/// Judges one message as the spine would at this moment, and says how.
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
    let standing = directory.find(std::slice::from_ref(&device)).await?.pop();
    let standing = standing.unwrap_or(RegistryAnswer { tenant_suspended: false, device: None });
    let end = decide(config, &parsed, &as_judged(config, &parsed, &standing, now), now);
    Ok(Explanation::new(config, Some(device), Some(standing), end))
}

/// How the message would end for a sender that stands like this; none when who the sender is does not matter.
pub fn end_for(config: &IngestConfig, delivery: &Delivery, standing: &RegistryAnswer, now: Timestamp) -> Option<End> {
    match ParseLimits::from(config).parse(delivery) {
        ParseOutcome::Parsed(parsed) => Some(decide(config, &parsed, &as_judged(config, &parsed, standing, now), now)),
        ParseOutcome::Ignored | ParseOutcome::Refused(..) => None,
    }
}

fn decide(config: &IngestConfig, parsed: &Parsed, standing: &RegistryAnswer, now: Timestamp) -> End {
    match AuthRequirements::from(config).judge(parsed, standing, now) {
        Err(refusal) => End::Refused(refusal),
        Ok(proof) => match parsed.unstorable {
            Some(why) => End::Refused(Refusal::new(Reason::StoreRejected, why)),
            None => End::Accepted(proof),
        },
    }
}

/// The registry as it will stand when this message is judged: with `AUTO_PROVISION` an unknown device registers itself.
fn as_judged(config: &IngestConfig, parsed: &Parsed, standing: &RegistryAnswer, now: Timestamp) -> RegistryAnswer {
    let enrolled =
        config.auto_provision.then(|| once_enrolled(AuthRequirements::from(config), parsed, standing, now)).flatten();
    enrolled.unwrap_or_else(|| standing.clone())
}

// === impl Explanation ===

impl Explanation {
    fn new(config: &IngestConfig, device: Option<DeviceKey>, standing: Option<RegistryAnswer>, end: End) -> Self {
        let refused_at = match &end {
            End::Refused(refusal) => Some(refusal.reason),
            End::Accepted(_) | End::Ignored => None,
        };
        let checks = Reason::ALL
            .into_iter()
            .map(|reason| Check { reason, verdict: verdict(config, reason, refused_at, &end) })
            .collect();
        Self { device, standing, checks, end }
    }
}

/// The checks are made in the order of the reasons, so the place of the refusal tells the verdict of each.
fn verdict(config: &IngestConfig, reason: Reason, refused_at: Option<Reason>, end: &End) -> ExplainVerdict {
    let token_check = matches!(reason, Reason::TokenNotSet | Reason::TokenMissing | Reason::TokenInvalid);
    match refused_at {
        Some(refused) if refused == reason => ExplainVerdict::Refused,
        Some(refused) if refused < reason => ExplainVerdict::NotReached,
        _ if *end == End::Ignored && reason != Reason::BadTopicFormat => ExplainVerdict::NotNeeded,
        _ if reason == Reason::RateLimited && config.rate_limit.is_none() => ExplainVerdict::NotNeeded,
        _ if token_check && matches!(end, End::Accepted(Authentication::Certificate | Authentication::NotRequired)) => {
            ExplainVerdict::NotNeeded
        }
        // Whether the database takes the row only the database can tell.
        None if reason == Reason::StoreRejected => ExplainVerdict::NotTried,
        _ => ExplainVerdict::Passed,
    }
}
