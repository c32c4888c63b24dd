//! What the thread of the broker and the thread of the link share, under one lock.
//!
//! The lock is held for look-ups and small changes only: a new registry is built, and an old one dropped,
//! without it. No function here calls the broker.

use std::collections::{HashMap, VecDeque};
use std::ffi::CString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_shared::client_ids::is_of_share_group;
use sluice_shared::frames::from_daemon::{ReservedNames, Verdict};
use sluice_shared::frames::from_plugin::{ClosedWhy, FromPlugin, Stats};
use sluice_shared::policy::Policy;
use sluice_shared::proof::ProofKey;
use sluice_shared::time::Timestamp;

use crate::log::WaitingLines;
use crate::registry::Registry;
use crate::request::{ClientKey, Completion, DelayedLogin, Kick};
use crate::sessions::{Holder, Sessions};

/// The most frames that wait for the daemon. Questions are never among the lost ones: their senders wait.
const FRAMES_MAX: usize = 20_000;

/// The shared state of an instance.
pub struct State {
    /// The registry in force. `None`: no snapshot has arrived yet.
    pub registry: Option<Registry>,
    /// The version of the registry.
    pub version: u64,
    /// The policy in force.
    pub policy: Policy,
    /// Which policy it is: each has another number.
    pub policy_generation: u64,
    /// Sluice's own names.
    pub reserved: ReservedNames,
    /// The sessions.
    pub sessions: Sessions,
    /// Sessions that the thread of the broker must close.
    pub kicks: VecDeque<Kick>,
    /// Commands of the daemon whose sessions are not all closed: how many are left, how many there were.
    pub commands: HashMap<u64, (u64, u64)>,
    /// Lines for the log of the broker.
    pub log: WaitingLines,
    /// Whether the daemon is connected.
    pub is_connected: bool,
    /// When the daemon was heard last.
    pub heard_at: Option<Instant>,
    /// The key of proofs.
    pub key: Option<ProofKey>,
    /// The number of the last proof.
    pub sequence: u64,
    /// The number of the last question.
    pub last_question: u64,
    /// The questions that wait for an answer, and the answers that wait for their question.
    pub answers: HashMap<u64, Option<Verdict>>,
    /// The logins whose broker does not wait, by their question.
    pub delayed: HashMap<u64, DelayedLogin>,
    /// The delayed logins that are decided.
    pub completions: Vec<Completion>,
    /// Questions in a row without an answer, and until when none is asked.
    pub breaker: Breaker,
    /// Frames for the daemon.
    pub frames: VecDeque<FromPlugin>,
    /// The counters.
    pub stats: Stats,
    /// Whether sessions cannot be closed, because the broker calls no tick.
    pub lacks_ticks: bool,
}

/// Stops asking a daemon that does not answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Breaker {
    misses: u32,
    open_until: Option<Instant>,
}

/// How far the registry can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The daemon was heard recently enough.
    Ready,
    /// No snapshot has arrived yet.
    NoSnapshot,
    /// The daemon was not heard for longer than `stale_s`.
    Stale,
}

/// For how long an open breaker asks nothing.
const BREAKER_PAUSE: Duration = Duration::from_secs(1);

impl Breaker {
    /// Whether no question may be asked.
    pub fn is_open(&self, now: Instant) -> bool {
        self.open_until.is_some_and(|until| now < until)
    }

    /// A question was answered.
    pub fn answered(&mut self) {
        *self = Self::default();
    }

    /// A question was not answered in time.
    pub fn missed(&mut self, limit: u32, now: Instant) {
        self.misses += 1;
        if self.misses >= limit {
            self.open_until = Some(now + BREAKER_PAUSE);
        }
    }
}

impl Default for State {
    /// The state before the first connection.
    fn default() -> Self {
        Self {
            registry: None,
            version: 0,
            policy: Policy::built_in(),
            policy_generation: 1,
            reserved: ReservedNames::default(),
            sessions: Sessions::default(),
            kicks: VecDeque::new(),
            commands: HashMap::new(),
            log: WaitingLines::default(),
            is_connected: false,
            heard_at: None,
            key: None,
            sequence: 0,
            last_question: 0,
            answers: HashMap::new(),
            delayed: HashMap::new(),
            completions: Vec::new(),
            breaker: Breaker::default(),
            frames: VecDeque::new(),
            stats: Stats::default(),
            lacks_ticks: false,
        }
    }
}

impl State {
    /// How far the registry can be relied on.
    pub fn readiness(&self, stale_after: Duration, now: Instant) -> Readiness {
        match (self.registry.is_some(), self.heard_at) {
            (true, Some(heard)) if now.duration_since(heard) <= stale_after => Readiness::Ready,
            (true, _) => Readiness::Stale,
            (false, _) => Readiness::NoSnapshot,
        }
    }

    /// Queues a frame for the daemon; the newest is lost if the queue is full.
    pub fn report(&mut self, frame: FromPlugin) {
        if self.frames.len() < FRAMES_MAX {
            self.frames.push_back(frame);
        } else {
            self.stats.frames_lost += 1;
        }
    }

    /// Ends a session: from now on it is denied everything, and the broker's thread closes it.
    pub fn end(&mut self, client: ClientKey, why: ClosedWhy, command: Option<u64>) -> bool {
        let Some(session) = self.sessions.end(client, why) else { return false };
        if session.is_offline {
            return false;
        }
        let Ok(client_id) = CString::new(&*session.client_id) else { return false };
        let session = session.number;
        let decided_at = Instant::now();
        self.kicks.push_back(Kick { client_id, client, session, command, decided_at });
        true
    }

    /// Ends the sessions of these clients whose certificate is no longer valid, and adopts a new end of
    /// the others.
    pub fn examine(&mut self, clients: impl IntoIterator<Item = ClientKey>, now: Timestamp) {
        for client in clients {
            let Some(registry) = &self.registry else { return };
            let Some(session) = self.sessions.of_client(client) else { continue };
            let Some(fingerprint) = session.fingerprint else { continue };
            let is_of = |device: &str| device == session.identity();
            match registry.valid(&fingerprint, now) {
                Some(certificate) if is_of(certificate.device.identity()) => {
                    let until = certificate.until;
                    self.sessions.set_until(client, Some(until));
                }
                _ => {
                    let why = match session.until {
                        Some(until) if until <= now => ClosedWhy::Expired,
                        _ => ClosedWhy::Revoked,
                    };
                    self.end(client, why, None);
                }
            }
        }
    }

    /// Ends the sessions that have reached their end.
    pub fn expire(&mut self, now: Timestamp) {
        for client in self.sessions.due(now) {
            self.end(client, ClosedWhy::Expired, None);
        }
    }

    /// Ends the sessions of a command of the daemon, and reports it once all are closed.
    pub fn revoke(&mut self, command: u64, clients: &[ClientKey]) {
        let mut closing = 0;
        for client in clients {
            closing += u64::from(self.end(*client, ClosedWhy::Revoked, Some(command)));
        }
        if closing == 0 {
            self.report(FromPlugin::Revoked { command, sessions: 0 });
        } else {
            self.commands.insert(command, (closing, closing));
        }
    }

    /// A session of a command is closed.
    pub fn closed_for(&mut self, command: u64) {
        let Some((left, all)) = self.commands.get_mut(&command) else { return };
        *left -= 1;
        let (left, sessions) = (*left, *all);
        if left == 0 {
            self.commands.remove(&command);
            self.report(FromPlugin::Revoked { command, sessions });
        }
    }

    /// Forgets the delayed logins of an address or a client id that another login uses now: their client
    /// has gone, which the broker does not report.
    pub fn forget_delayed(&mut self, client: ClientKey, client_id: &[u8]) {
        let is_other = |login: &DelayedLogin| {
            login.client != client && login.client_id.as_bytes() != client_id
        };
        if !self.delayed.is_empty() {
            self.delayed.retain(|_, login| is_other(login));
        }
        self.completions.retain(|completion| is_other(&completion.login));
    }

    /// Decides a delayed login; `None` without an answer.
    pub fn complete(&mut self, question: u64, verdict: Option<Verdict>) {
        if let Some(login) = self.delayed.remove(&question) {
            self.stats.asked += u64::from(verdict.is_some());
            self.stats.ask_timeouts += u64::from(verdict.is_none());
            self.completions.push(Completion { login, verdict });
        }
    }

    /// Gives up the delayed logins whose question was not answered in time.
    pub fn expire_delayed(&mut self, now: Instant) {
        let is_due = |login: &DelayedLogin| login.deadline <= now;
        let due = self.delayed.iter().filter(|(_, login)| is_due(login)).map(|(id, _)| *id);
        for question in due.collect::<Vec<_>>() {
            self.complete(question, None);
        }
    }

    /// Whether the user name is one of Sluice itself.
    pub fn is_own_name(&self, username: &str) -> bool {
        self.reserved.usernames.iter().any(|own| own == username)
    }

    /// Whether the client id is one of Sluice itself.
    pub fn is_own_client_id(&self, client_id: &str) -> bool {
        let stem = self.reserved.share_group_stem.as_deref();
        stem.is_some_and(|stem| is_of_share_group(client_id, stem))
            || self.reserved.client_ids.iter().any(|own| own == client_id)
    }

    /// The counters with the gauges of this moment.
    pub fn stats_now(&mut self) -> Stats {
        self.stats.sessions = self.sessions.online() as u64;
        self.stats.version = self.version;
        self.stats.certificates = self.registry.as_ref().map_or(0, Registry::count) as u64;
        self.stats.breaker_open = self.breaker.is_open(Instant::now());
        self.stats.clone()
    }
}

/// Whether both are the same identity.
pub fn is_same(one: &Holder, other: &Holder) -> bool {
    match (one, other) {
        (Holder::Subject { subject: one, .. }, Holder::Subject { subject: other, .. }) => {
            Arc::ptr_eq(one, other) || (one.kind == other.kind && one.id == other.id)
        }
        (Holder::Broker, Holder::Broker) => true,
        _ => false,
    }
}
