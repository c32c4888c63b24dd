//! What the registration of a device would do to its kept messages: how many of them a replay would
//! store, by what the device gets to authenticate itself; and whether the token that they carry can
//! become the device's own.
//!
//! It registers nothing, and shows no token and no hash. A token is taken over only where every kept
//! message of the device carries the same one or none, and no other device has it.

use sluice_shared::proof::ShortFingerprint;
use uuid::Uuid;

use super::{Quarantine, by_id};
use crate::config::sections::ingest::IngestConfig;
use crate::domain::device::{CertificateWindow, Device, DeviceStatus, RegistryAnswer, Windows};
use crate::domain::ids::DeviceKey;
use crate::domain::message::Delivery;
use crate::domain::ports::{Directory, Newcomer, Outage};
use crate::domain::refusal::Reason;
use crate::domain::time::Clock;
use crate::domain::token::TokenHash;
use crate::ingest::replay::{Replayed, Replayer};
use crate::store::batch::sink::PgSink;
use crate::store::connection::database::Database;
use crate::store::quarantine::filter::QuarantineFilter;
use crate::store::quarantine::kept_tokens::{self, COMPARED_MAX, KeptTokens};
use crate::store::reads::quarantine::{self as events, Record};
use crate::store::registry::directory::PgDirectory;
use crate::telemetry::ingest::IngestMetrics;

/// Messages that are judged for a preview, the oldest.
pub const PREVIEWED_MAX: u64 = 500;

/// Messages that are read at once: each may hold a payload of `QUARANTINE_PAYLOAD_MAX` bytes.
const PAGE: u32 = 50;

/// A certificate of the preview is valid for so many seconds.
const VALID_SECONDS: i64 = 86_400;

/// What registering a device would do to its messages.
#[derive(Clone, Debug)]
pub struct RegistrationPreview {
    /// Whether the device is registered already. Then there is one forecast, of what it has.
    pub is_registered: bool,
    /// The messages that were judged.
    pub messages: u64,
    /// Whether there are more of them.
    pub more: bool,
    /// How many of the kept messages carry a token.
    pub with_token: u64,
    /// The site, if all messages that name one name this one.
    pub site: Option<String>,
    /// A message whose token can be taken over, or why none can.
    pub token: Result<Uuid, TakeoverRefusal>,
    /// What a replay would do.
    pub forecasts: Vec<ProofForecast>,
}

/// What a replay would do, if the device had this proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofForecast {
    /// By what the device authenticates itself.
    pub proof: NewProof,
    /// The messages that would be stored.
    pub stored: u64,
    /// Why the first of the others would be refused again.
    pub refused: Option<Reason>,
}

/// What a new device gets to authenticate itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewProof {
    /// A token that is made now: no message carries it.
    NewToken,
    /// The token that the messages carry.
    TheirToken,
    /// A certificate.
    Certificate,
    /// What it has: it is registered.
    Registered,
}

/// Why the token of the messages does not become the device's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TakeoverRefusal {
    /// There is none.
    #[error("none of its kept messages carries a token")]
    NoToken,
    /// They differ.
    #[error("its kept messages carry {0} different tokens, and at most one is the device's own")]
    Several(u64),
    /// It is no secret of this device.
    #[error("another device has the same token, so it proves nothing about this one")]
    Shared,
    /// There are too many to compare.
    #[error("more than {COMPARED_MAX} of its messages are kept: too many to compare their tokens")]
    TooMany,
    /// The message that was chosen does not carry it.
    #[error("event {0} is no kept message of this device with a token")]
    NoEvent(Uuid),
}

/// Why no token was taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TakeoverError {
    /// It must not be.
    #[error("{0}")]
    Refused(#[from] TakeoverRefusal),
    /// The database failed.
    #[error("{0}")]
    Outage(#[from] Outage),
}

/// By what messages are judged.
#[derive(Clone, Debug)]
pub struct PreviewJudge<'a> {
    /// The settings.
    pub config: &'a IngestConfig,
    /// Counts the lookups.
    pub metrics: IngestMetrics,
    /// The time of the decisions.
    pub clock: Clock,
}

/// A replay that stores nothing, for one proof.
struct Trial {
    replayer: Replayer<WithDevice, PgSink>,
    forecast: ProofForecast,
}

/// The site that all messages name.
#[derive(Default)]
struct SiteOfAll {
    one: Option<String>,
    differs: bool,
}

/// The registry with one device more.
struct WithDevice {
    registry: PgDirectory,
    key: DeviceKey,
    /// `None`: the registry as it is.
    device: Option<Device>,
}

// === impl Quarantine ===

impl Quarantine<'_> {
    /// Finds out what a registration of `key` would do to its messages that were not replayed. With
    /// `in_all`, devices of all tenants count where tokens are compared.
    pub async fn preview_registration(
        &self,
        key: &DeviceKey,
        judge: PreviewJudge<'_>,
        in_all: bool,
    ) -> Result<RegistrationPreview, Outage> {
        let pool = self.database.pool();
        let known = self.database.directory().find(std::slice::from_ref(key)).await?;
        let is_registered = known.iter().any(|answer| answer.device.is_some());
        let kept = kept_tokens::of_device(pool, key).await?;
        let token = match self.single_token(key, &kept, in_all).await {
            Ok(token) => Ok(token),
            Err(TakeoverError::Refused(why)) => Err(why),
            Err(TakeoverError::Outage(outage)) => return Err(outage),
        };
        let devices = devices(is_registered, token.ok().map(|(hash, _)| hash), judge.clock);
        let mut trials: Vec<Trial> = devices
            .into_iter()
            .map(|(proof, device)| Trial::new(self.database, key, judge.clone(), proof, device))
            .collect();
        let mut preview = RegistrationPreview {
            is_registered,
            messages: 0,
            more: false,
            with_token: kept.with_token,
            site: None,
            token: token.map(|(_, event)| event),
            forecasts: Vec::new(),
        };
        let mut sites = SiteOfAll::default();
        let mut after = None;
        while !preview.more {
            let mut records = events::fetch(pool, &open_messages(key), after, PAGE + 1).await?;
            let has_next = records.len() > PAGE as usize;
            records.truncate(PAGE as usize);
            after = records.last().map(|last| last.summary.place());
            for trial in &mut trials {
                trial.judge(&records).await?;
            }
            preview.messages += records.len() as u64;
            for record in &records {
                sites.note(record.site_id.as_deref());
            }
            if !has_next {
                break;
            }
            preview.more = preview.messages >= PREVIEWED_MAX;
        }
        preview.site = sites.one;
        preview.forecasts = trials.into_iter().map(|trial| trial.forecast).collect();
        Ok(preview)
    }

    /// The hash of the token that this message and all others of the device carry, to become the
    /// device's own.
    pub async fn take_token(
        &self,
        key: &DeviceKey,
        event: Uuid,
        in_all: bool,
    ) -> Result<TokenHash, TakeoverError> {
        let pool = self.database.pool();
        let kept = kept_tokens::of_device(pool, key).await?;
        let found = events::fetch(pool, &by_id(event), None, 1).await?.pop();
        let carried =
            found.filter(|record| is_of(record, key)).and_then(|found| found.replay.token);
        let carried = carried.ok_or(TakeoverRefusal::NoEvent(event))?;
        let (token, _) = self.single_token(key, &kept, in_all).await?;
        if token.equals(&carried) { Ok(token) } else { Err(TakeoverRefusal::NoEvent(event).into()) }
    }

    /// The one token of the kept messages, and a message that carries it.
    async fn single_token(
        &self,
        key: &DeviceKey,
        kept: &KeptTokens,
        in_all: bool,
    ) -> Result<(TokenHash, Uuid), TakeoverError> {
        if kept.messages > COMPARED_MAX.unsigned_abs() {
            return Err(TakeoverRefusal::TooMany.into());
        }
        let (Some(token), Some(event)) = (kept.token, kept.event) else {
            return Err(TakeoverRefusal::NoToken.into());
        };
        if kept.tokens > 1 {
            return Err(TakeoverRefusal::Several(kept.tokens).into());
        }
        if kept_tokens::is_shared(self.database.pool(), &token, key, in_all).await? {
            return Err(TakeoverRefusal::Shared.into());
        }
        Ok((token, event))
    }
}

// === impl Trial ===

impl Trial {
    fn new(
        database: &Database,
        key: &DeviceKey,
        judge: PreviewJudge<'_>,
        proof: NewProof,
        device: Option<Device>,
    ) -> Self {
        let directory = WithDevice { registry: database.directory(), key: key.clone(), device };
        let PreviewJudge { config, metrics, clock } = judge;
        let sink = database.rehearsal();
        Self {
            replayer: Replayer::new(config, directory, sink, metrics, clock, true),
            forecast: ProofForecast { proof, stored: 0, refused: None },
        }
    }

    async fn judge(&mut self, records: &[Record]) -> Result<(), Outage> {
        let messages: Vec<Delivery> = records.iter().map(Record::delivery).collect();
        for outcome in self.replayer.replay_batch(messages).await? {
            match outcome {
                Replayed::Accepted => self.forecast.stored += 1,
                Replayed::Refused(refusal) => {
                    self.forecast.refused.get_or_insert(refusal.reason);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

// === impl SiteOfAll ===

impl SiteOfAll {
    fn note(&mut self, site: Option<&str>) {
        let Some(site) = site else { return };
        if self.one.as_deref().is_some_and(|one| one != site) {
            self.differs = true;
        }
        self.one = (!self.differs).then(|| site.to_owned());
    }
}

// === impl NewProof ===

impl NewProof {
    /// The name in the API.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NewToken => "new_token",
            Self::TheirToken => "their_token",
            Self::Certificate => "certificate",
            Self::Registered => "registered",
        }
    }
}

// === impl WithDevice ===

impl Directory for WithDevice {
    async fn find(&self, keys: &[DeviceKey]) -> Result<Vec<RegistryAnswer>, Outage> {
        let mut answers = self.registry.find(keys).await?;
        if let Some(device) = &self.device {
            for (answer, _) in answers.iter_mut().zip(keys).filter(|(_, key)| **key == self.key) {
                answer.device = Some(device.clone());
            }
        }
        Ok(answers)
    }

    async fn enroll(&self, _: &[Newcomer]) -> Result<(), Outage> {
        Err(Outage("a preview registers no device".to_owned()))
    }
}

// === private helpers ===

/// The devices to try, one for each proof.
fn devices(
    is_registered: bool,
    token: Option<TokenHash>,
    clock: Clock,
) -> Vec<(NewProof, Option<Device>)> {
    if is_registered {
        return vec![(NewProof::Registered, None)];
    }
    let plain = Device {
        status: DeviceStatus::Active,
        site: None,
        token: None,
        certificates: Windows::new(),
    };
    // No token has this hash.
    let made = Device { token: Some(TokenHash([0; 32])), ..plain.clone() };
    let now = clock();
    let window = CertificateWindow {
        id: Uuid::nil(),
        fingerprint: ShortFingerprint([0; 16]),
        not_before: now,
        not_after: now.plus_seconds(VALID_SECONDS),
    };
    let theirs = token.map(|token| Device { token: Some(token), ..plain.clone() });
    let certified = Device { certificates: [window].into(), ..plain };
    let mut devices = vec![(NewProof::NewToken, Some(made))];
    devices.extend(theirs.map(|theirs| (NewProof::TheirToken, Some(theirs))));
    devices.push((NewProof::Certificate, Some(certified)));
    devices
}

fn is_of(record: &Record, key: &DeviceKey) -> bool {
    let event = &record.summary;
    event.tenant_id.as_deref() == Some(key.tenant())
        && event.device_id.as_deref() == Some(key.device())
}

fn open_messages(key: &DeviceKey) -> QuarantineFilter {
    QuarantineFilter {
        tenant: Some(key.tenant().to_owned()),
        device: Some(key.device().to_owned()),
        replayed: Some(false),
        ..QuarantineFilter::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_taken_only_if_every_message_that_names_one_names_it() {
        let one = |sites: &[Option<&str>]| {
            let mut all = SiteOfAll::default();
            for site in sites {
                all.note(*site);
            }
            all.one
        };
        assert_eq!(one(&[None, Some("a"), None, Some("a")]).as_deref(), Some("a"));
        assert_eq!(one(&[None]), None);
        assert_eq!(one(&[Some("a"), Some("b"), Some("a")]), None);
    }
}
