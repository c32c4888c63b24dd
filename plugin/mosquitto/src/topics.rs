//! Decides access to topics, and what becomes of each message: which proof it gets.
//!
//! Everything is local: a session knows its subject, and the policy is here. It asks nobody.

use std::ffi::{CStr, CString};
use std::sync::Arc;
use std::time::Instant;

use sluice_shared::frames::from_plugin::FromPlugin;
use sluice_shared::proof::{Proof, ProvenMessage, ShortFingerprint};
use sluice_shared::subject::Subject;

use crate::clock;
use crate::instance::Instance;
use crate::log::Level;
use crate::options::{OnStale, Reserved, Unknown, Wills};
use crate::registry;
use crate::request::{
    AccessAnswer, AccessRequest, ClientKey, MessageAnswer, PublishRequest, Stamp,
};
use crate::sessions::{Holder, NewSession, Session};
use crate::shared::Shared;
use crate::state::State;

/// The broker's numbers of accesses.
const WRITE: u8 = 2;
const UNSUBSCRIBE: u8 = 8;

/// One of so many decisions is timed.
const SAMPLED: u64 = 64;

/// A client, and what the broker knows of it.
struct Sender<'a> {
    client: ClientKey,
    client_id: &'a [u8],
    certificate: &'a dyn Fn() -> Option<Vec<u8>>,
    username: &'a dyn Fn() -> Option<Vec<u8>>,
}

/// What a proof says of the publisher.
struct Publisher {
    identity: Arc<CStr>,
    fingerprint: Option<ShortFingerprint>,
}

impl Publisher {
    fn of(session: &Session) -> Self {
        Self {
            identity: session.label.clone(),
            fingerprint: session.fingerprint.as_ref().map(ShortFingerprint::of),
        }
    }
}

impl Instance {
    /// Decides access to a topic.
    pub fn access(&self, request: &AccessRequest<'_>) -> AccessAnswer {
        let mut state = self.shared.state();
        let started_at = sample(state.stats.topics.iter().sum());
        if !is_live(&state, request.client, request.client_id) {
            drop(state);
            self.know(&Sender {
                client: request.client,
                client_id: request.client_id,
                certificate: request.certificate,
                username: request.username,
            });
            state = self.shared.state();
        }
        let answer = decide(&mut state, &self.shared, request);
        let is_allowed = matches!(answer, AccessAnswer::Allow | AccessAnswer::PublishWill(_));
        state.stats.topics[usize::from(!is_allowed)] += 1;
        state.stats.topic_nanos += started_at.map_or(0, sampled_nanos);
        answer
    }

    /// Decides what becomes of a message that its sender may publish.
    pub fn publish(&self, request: &PublishRequest<'_>) -> MessageAnswer {
        let mut state = self.shared.state();
        let started_at = sample(state.stats.stamped);
        if !is_live(&state, request.client, request.client_id) {
            drop(state);
            self.know(&Sender {
                client: request.client,
                client_id: request.client_id,
                certificate: request.certificate,
                username: &|| None,
            });
            state = self.shared.state();
        }
        let answer = decide_message(&mut state, &self.shared, request);
        state.stats.stamp_nanos += started_at.map_or(0, sampled_nanos);
        answer
    }

    /// Finds out who a client is whose login was not shown to the plugin: a listener that takes the user
    /// name from the certificate asks no plugin, and a session restored by the broker has no login.
    fn know(&self, sender: &Sender<'_>) {
        // The broker is asked without the lock.
        if let Some(der) = (sender.certificate)() {
            return self.adopt_by_certificate(sender, &der);
        }
        let is_known = self.shared.state().sessions.get(sender.client, sender.client_id).is_some();
        if !is_known && let Some(name) = (sender.username)() {
            self.adopt_stored(sender, &name);
        }
    }

    fn adopt_by_certificate(&self, sender: &Sender<'_>, der: &[u8]) {
        if !self.shared.options.certificates {
            return;
        }
        let fingerprint = registry::fingerprint(der);
        let mut state = self.shared.state();
        state.sessions.remove(sender.client);
        state.forget_delayed(sender.client, sender.client_id);
        let now = clock::now();
        let known = state.registry.as_ref().and_then(|known| known.valid(&fingerprint, now));
        let Some(certificate) = known else { return };
        let (device, until) = (certificate.device.clone(), certificate.until);
        if self.shared.is_stale(&state) && self.shared.options.on_stale != OnStale::Allow {
            return;
        }
        let subject = Arc::new(Subject::of_device(device));
        let holder = Holder::Subject { subject: subject.clone(), by_login: false };
        let Some(new) = late(sender, holder, &subject.id) else { return };
        let new = NewSession { fingerprint: Some(fingerprint), until: Some(until), ..new };
        let opened = state.sessions.open(new).opened();
        state.stats.late_sessions += 1;
        if state.stats.late_sessions == 1 {
            state.log.push(
                Level::Warning,
                "a listener takes the user name from the certificate (use_identity_as_username or \
                 use_subject_as_username), so logins are not shown to the plugin: remove that line, or a \
                 revoked certificate still gets a CONNACK",
            );
        }
        state.report(FromPlugin::Opened(opened));
    }

    /// A session that the broker restored from its store: its client is not connected.
    fn adopt_stored(&self, sender: &Sender<'_>, name: &[u8]) {
        let Ok(name) = std::str::from_utf8(name) else { return };
        let mut state = self.shared.state();
        let holder = if state.is_own_name(name) {
            Holder::Broker
        } else {
            let Ok(device) = registry::device_of(name) else { return };
            let registry = state.registry.as_ref();
            if !registry.is_some_and(|registry| registry.has_valid(&device, clock::now())) {
                return;
            }
            Holder::Subject { subject: Arc::new(Subject::of_device(device)), by_login: false }
        };
        let Some(new) = late(sender, holder, name) else { return };
        state.sessions.open(NewSession { is_stored: true, is_offline: true, ..new });
    }
}

// === decisions ===

fn decide(state: &mut State, shared: &Shared, request: &AccessRequest<'_>) -> AccessAnswer {
    let options = &shared.options;
    if options.on_stale == OnStale::DenyAll && shared.is_stale(state) {
        return AccessAnswer::Deny;
    }
    let State { sessions, policy, policy_generation, lacks_ticks, .. } = state;
    let Some(session) = sessions.get_mut(request.client, request.client_id) else {
        return match options.unknown {
            Unknown::Defer => AccessAnswer::Defer,
            Unknown::Deny => AccessAnswer::Deny,
        };
    };
    let is_will = request.access == WRITE && (session.is_offline || session.is_superseded);
    if !is_will && has_ended(session) {
        let can_close = *lacks_ticks && !session.is_offline;
        return if can_close { AccessAnswer::CloseSession } else { AccessAnswer::Deny };
    }
    if request.access == UNSUBSCRIBE {
        return AccessAnswer::Allow;
    }
    let Holder::Subject { subject, by_login } = &session.holder else {
        let is_closed = is_will && options.wills == Wills::Deny;
        return if is_closed { AccessAnswer::Deny } else { AccessAnswer::Defer };
    };
    let known = session.recent.get(*policy_generation, request.access, request.topic);
    let is_allowed = known.unwrap_or_else(|| {
        let is_allowed = std::str::from_utf8(request.topic).is_ok_and(|topic| {
            let decision = policy.decide(subject, &session.client_id, request.access, topic);
            decision.allowed || (*by_login && policy.admits_superuser(subject, &decision))
        });
        session.recent.put(*policy_generation, request.access, request.topic, is_allowed);
        is_allowed
    });
    match (is_allowed, is_will, options.wills) {
        (false, ..) | (true, true, Wills::Deny) => AccessAnswer::Deny,
        (true, false, _) | (true, true, Wills::Pass) => AccessAnswer::Allow,
        (true, true, Wills::Restamp) => {
            let publisher = Publisher::of(session);
            let stamp = stamp(state, shared, &publisher, request.topic, request.payload, true);
            // Without proofs there is nothing to restamp, and nothing that a forged property could feign.
            stamp.map_or(AccessAnswer::Allow, AccessAnswer::PublishWill)
        }
    }
}

fn decide_message(
    state: &mut State,
    shared: &Shared,
    request: &PublishRequest<'_>,
) -> MessageAnswer {
    let options = &shared.options;
    let session = state.sessions.get(request.client, request.client_id);
    if session.is_none() && options.trusts_bridge(request.client_id) {
        return MessageAnswer::Keep;
    }
    if request.has_reserved && options.reserved == Reserved::Reject {
        return MessageAnswer::Reject;
    }
    let unstamped =
        || if request.has_reserved { MessageAnswer::Replace(None) } else { MessageAnswer::Keep };
    let Some(session) = session else { return unstamped() };
    if has_ended(session) {
        return MessageAnswer::Reject;
    }
    if !options.stamps {
        return unstamped();
    }
    let publisher = Publisher::of(session);
    if let Some(stamp) = stamp(state, shared, &publisher, request.topic, request.payload, false) {
        return MessageAnswer::Replace(Some(stamp));
    }
    state.stats.unstamped += 1;
    unstamped()
}

fn stamp(
    state: &mut State,
    shared: &Shared,
    publisher: &Publisher,
    topic: &[u8],
    payload: &[u8],
    is_will: bool,
) -> Option<Stamp> {
    if !shared.options.stamps {
        return None;
    }
    let key = state.key.as_ref()?;
    state.sequence += 1;
    let proof = Proof {
        boot: shared.boot,
        sequence: state.sequence,
        at: clock::now(),
        fingerprint: publisher.fingerprint,
        is_will,
    };
    let message = ProvenMessage { identity: publisher.identity.to_bytes(), topic, payload };
    let value = key.sign(&proof, &message).ok()?;
    state.stats.stamped += 1;
    Some(Stamp(value))
}

// === private helpers ===

/// Whether the session may do nothing more: it is about to be closed, or its end has come.
fn has_ended(session: &Session) -> bool {
    session.ended.is_some() || session.until.is_some_and(|until| until <= clock::coarse())
}

/// A session whose login the plugin has not seen.
fn late(sender: &Sender<'_>, holder: Holder, identity: &str) -> Option<NewSession> {
    Some(NewSession {
        client: sender.client,
        client_id: std::str::from_utf8(sender.client_id).ok()?.into(),
        holder,
        identity: CString::new(identity).ok()?,
        fingerprint: None,
        until: None,
        address: None,
        is_stored: false,
        // It is connected, or stored: the broker has accepted it before.
        is_confirmed: true,
        username: None,
        is_offline: false,
    })
}

fn is_live(state: &State, client: ClientKey, client_id: &[u8]) -> bool {
    state.sessions.get(client, client_id).is_some_and(|session| !session.is_offline)
}

/// Begins to measure one of [`SAMPLED`] decisions: reading the clock costs as much as deciding.
fn sample(count: u64) -> Option<Instant> {
    count.is_multiple_of(SAMPLED).then(Instant::now)
}

/// The time of a sampled decision, for all that were not.
fn sampled_nanos(started_at: Instant) -> u64 {
    u64::try_from(started_at.elapsed().as_nanos()).unwrap_or_default().saturating_mul(SAMPLED)
}
