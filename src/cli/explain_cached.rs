//! Asks the running daemon for its cached grant of a device, and derives what the daemon decides
//! from it.
//!
//! The daemon publishes no token hash, so this assumes the registry's: it cannot see a change of
//! the token alone.

use std::net::SocketAddr;

use serde::Serialize;

use crate::config::sections::ingest::IngestConfig;
use crate::domain::device::RegistryAnswer;
use crate::domain::ids::DeviceKey;
use crate::domain::message::Delivery;
use crate::domain::time::Timestamp;
use crate::http::ops_client;
use crate::ingest::explain::{End, end_for};
use crate::ingest::grants::view::GrantView;

/// The daemon's cached grant, as far as it is known.
#[derive(Debug, Serialize)]
pub struct CachedGrant {
    /// Whether a daemon answers on `OPS_BIND`.
    daemon_answers: bool,
    /// Whether its cache holds a grant of the device; `None` when unknown.
    cached: Option<bool>,
    age_seconds: Option<f64>,
    good_for_seconds: Option<f64>,
    /// Whether its decision equals the one from the registry; `None` when unknown.
    decides_the_same: Option<bool>,
    /// The other fields as one sentence.
    pub says: String,
}

/// The message to compare, and its verdict from the current registry.
#[derive(Debug)]
pub struct CachedEntryQuery<'a> {
    /// The settings.
    pub config: &'a IngestConfig,
    /// The message.
    pub delivery: &'a Delivery,
    /// The registry's answer about its sender.
    pub answer: &'a RegistryAnswer,
    /// The same about a publisher that is a gateway.
    pub gateway: Option<&'a RegistryAnswer>,
    /// The verdict that follows from `answer`.
    pub end: &'a End,
}

// === impl CachedGrant ===

impl CachedGrant {
    /// Asks the daemon that listens on `bind`.
    pub async fn fetch(
        bind: SocketAddr,
        device: &DeviceKey,
        question: &CachedEntryQuery<'_>,
        now: Timestamp,
    ) -> Self {
        let path = format!("/grants/{}/{}", device.tenant(), device.device());
        let answer = match ops_client::get(bind, &path).await {
            Ok((200, body)) => serde_json::from_str::<GrantView>(&body)
                .map(Some)
                .map_err(|error| error.to_string()),
            Ok((404, body)) if body.contains("cached") => Ok(None),
            Ok((status, _)) => Err(format!("it answers {path} with HTTP status {status}")),
            Err(error) => return Self::unreachable(bind, &error),
        };
        match answer {
            Ok(Some(grant)) => Self::from_grant(bind, &grant, question, now),
            Ok(None) => Self {
                cached: Some(false),
                ..Self::with_sentence(format!(
                    "the daemon at {bind} has no cache entry of the device: it would query the registry"
                ))
            },
            Err(why) => Self::with_sentence(format!(
                "{bind} is not a Sluice daemon of this version ({why}): its cache entry cannot be shown"
            )),
        }
    }

    fn unreachable(bind: SocketAddr, error: &std::io::Error) -> Self {
        let sentence = format!(
            "no daemon answers at OPS_BIND={bind} ({error}): its cache entry cannot be shown"
        );
        Self { daemon_answers: false, ..Self::with_sentence(sentence) }
    }

    fn from_grant(
        bind: SocketAddr,
        grant: &GrantView,
        question: &CachedEntryQuery<'_>,
        now: Timestamp,
    ) -> Self {
        let token = question.answer.device.as_ref().and_then(|device| device.token);
        let answer = grant.answer(token);
        let end = answer.and_then(|answer| {
            end_for(question.config, question.delivery, (&answer, question.gateway), now)
        });
        let decides = match &end {
            None => "with a token that the registry no longer has".to_owned(),
            Some(end) if end == question.end => "the same".to_owned(),
            Some(End::Refused(refusal)) => {
                format!("DIFFERENTLY: refused: {}: {}", refusal.reason, refusal.detail)
            }
            Some(End::Accepted(_) | End::Ignored) => "DIFFERENTLY: accepted".to_owned(),
        };
        let sentence = format!(
            "the daemon at {bind} queried the registry {:.1} s ago and caches the answer for {:.1} s more, unless the registry \
             changes: it decides {decides}",
            grant.age_seconds, grant.good_for_seconds
        );
        Self {
            cached: Some(true),
            age_seconds: Some(grant.age_seconds),
            good_for_seconds: Some(grant.good_for_seconds),
            decides_the_same: Some(end.is_some_and(|end| end == *question.end)),
            ..Self::with_sentence(sentence)
        }
    }

    fn with_sentence(says: String) -> Self {
        Self {
            daemon_answers: true,
            cached: None,
            age_seconds: None,
            good_for_seconds: None,
            decides_the_same: None,
            says,
        }
    }
}
