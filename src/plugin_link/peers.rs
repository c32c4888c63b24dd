//! The connected plugins: what each has applied, which sessions it opened and closed, and which orders it
//! has not confirmed.
//!
//! It reads no socket. What a plugin can make it keep is bounded.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sluice_shared::frames::from_plugin::{ClosedWhy, PluginHello, SessionOpened, Stats};
use tokio::sync::{Notify, oneshot};

use crate::domain::hex;

/// The most open sessions of one plugin whose certificates are known.
const SESSIONS_MAX: usize = 200_000;

/// The most certificates whose sessions were closed lately.
const ENDED_MAX: usize = 4_096;

/// The most orders that a plugin has not confirmed.
const COMMANDS_MAX: usize = 1_024;

/// The most starts of plugins whose counters are kept.
const BOOTS_MAX: usize = 64;

type Fingerprint = [u8; 32];

/// All connected plugins.
#[derive(Debug, Default)]
pub(super) struct Peers {
    connected: Mutex<BTreeMap<u64, Arc<PluginPeer>>>,
    /// What each start of a plugin has counted: the plugin counts on when it connects again.
    counted: Mutex<BTreeMap<String, Stats>>,
}

/// One connected plugin.
#[derive(Debug)]
pub(super) struct PluginPeer {
    pub number: u64,
    pub hello: PluginHello,
    /// Its profile, as a label.
    pub label: Box<str>,
    /// Notified when the plugin wants a snapshot.
    pub resync: Notify,
    /// Frames of the registry that wait to be sent.
    pub queued: AtomicI64,
    applied: AtomicU64,
    /// Milliseconds by which its registry is behind.
    behind_ms: AtomicU64,
    sessions: Mutex<PeerSessions>,
    commands: Mutex<HashMap<u64, SentOrder>>,
}

#[derive(Debug, Default)]
struct PeerSessions {
    open: HashMap<u64, Fingerprint>,
    /// Certificates whose sessions were closed as revoked, the last at the end.
    ended: VecDeque<Fingerprint>,
}

#[derive(Debug)]
struct SentOrder {
    fingerprint: String,
    done: oneshot::Sender<u64>,
}

// === impl Peers ===

impl Peers {
    pub fn add(&self, peer: &Arc<PluginPeer>) {
        lock(&self.connected).insert(peer.number, Arc::clone(peer));
    }

    /// Removes a plugin; returns whether another one of its profile is connected.
    pub fn remove(&self, peer: &PluginPeer) -> bool {
        let mut connected = lock(&self.connected);
        connected.remove(&peer.number);
        connected.values().any(|other| other.label == peer.label)
    }

    /// All of them, in the order in which they connected.
    pub fn list(&self) -> Vec<Arc<PluginPeer>> {
        lock(&self.connected).values().cloned().collect()
    }

    /// Keeps what a start of a plugin has counted; returns what it had counted before.
    pub fn counted(&self, boot: &str, stats: &Stats) -> Stats {
        let mut counted = lock(&self.counted);
        if !counted.contains_key(boot) && counted.len() >= BOOTS_MAX {
            counted.pop_first();
        }
        counted.insert(boot.to_owned(), stats.clone()).unwrap_or_default()
    }
}

// === impl PluginPeer ===

impl PluginPeer {
    pub fn new(number: u64, hello: PluginHello, label: Box<str>) -> Self {
        Self {
            number,
            hello,
            label,
            resync: Notify::new(),
            queued: AtomicI64::new(0),
            applied: AtomicU64::new(0),
            behind_ms: AtomicU64::new(0),
            sessions: Mutex::default(),
            commands: Mutex::default(),
        }
    }

    /// The version of the registry that the plugin has applied.
    pub fn applied(&self) -> u64 {
        self.applied.load(Ordering::Relaxed)
    }

    pub fn set_applied(&self, version: u64) {
        self.applied.store(version, Ordering::Relaxed);
    }

    /// Milliseconds by which its registry is behind.
    pub fn behind_ms(&self) -> u64 {
        self.behind_ms.load(Ordering::Relaxed)
    }

    pub fn set_behind_ms(&self, behind: u64) {
        self.behind_ms.store(behind, Ordering::Relaxed);
    }

    pub fn opened(&self, session: &SessionOpened) {
        let fingerprint = session.fingerprint.as_deref().and_then(hex::decode);
        let mut sessions = lock(&self.sessions);
        if let Some(fingerprint) = fingerprint
            && sessions.open.len() < SESSIONS_MAX
        {
            sessions.open.insert(session.session, fingerprint);
        }
    }

    pub fn closed(&self, session: u64, why: ClosedWhy) {
        let mut sessions = lock(&self.sessions);
        let Some(fingerprint) = sessions.open.remove(&session) else { return };
        if why == ClosedWhy::Revoked {
            if sessions.ended.len() >= ENDED_MAX {
                sessions.ended.pop_front();
            }
            sessions.ended.push_back(fingerprint);
        }
    }

    /// Expects the confirmation of an order. Beyond the bound `done` is dropped: nobody confirms.
    pub fn expect(&self, command: u64, fingerprint: String, done: oneshot::Sender<u64>) {
        let mut commands = lock(&self.commands);
        // Nobody waits for these any more.
        commands.retain(|_, command| !command.done.is_closed());
        if commands.len() < COMMANDS_MAX {
            commands.insert(command, SentOrder { fingerprint, done });
        }
    }

    /// The plugin has confirmed an order. A session that it closed before, when its certificate left the
    /// registry, counts as well.
    pub fn confirmed(&self, command: u64, sessions: u64) {
        let Some(SentOrder { fingerprint, done }) = lock(&self.commands).remove(&command) else {
            return;
        };
        let before = hex::decode::<32>(&fingerprint)
            .is_some_and(|fingerprint| lock(&self.sessions).ended.contains(&fingerprint));
        // The caller may have given up.
        let _was_awaited = done.send(sessions.max(u64::from(before)));
    }
}

// --- private helpers ---

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> PluginPeer {
        let hello = PluginHello {
            protocol: 1,
            build: "1".into(),
            broker: "2.0.11".into(),
            profile: "p".into(),
            boot: "1".into(),
            ticks: true,
            delayed: false,
            stamps: true,
            warnings: Vec::new(),
        };
        PluginPeer::new(1, hello, "p".into())
    }

    #[test]
    fn a_session_that_was_closed_before_the_order_counts() {
        let (peer, fingerprint) = (peer(), "ab".repeat(32));
        let session = SessionOpened {
            session: 7,
            identity: "a/device/b".into(),
            client_id: "b".into(),
            fingerprint: Some(fingerprint.clone()),
            address: None,
        };
        for (why, expected) in [(ClosedWhy::Disconnected, 0), (ClosedWhy::Revoked, 1)] {
            peer.opened(&session);
            peer.closed(7, why);
            let (done, mut confirmed) = oneshot::channel();
            peer.expect(1, fingerprint.clone(), done);
            peer.confirmed(1, 0);
            assert_eq!(confirmed.try_recv(), Ok(expected), "{why:?}");
        }
    }

    #[test]
    fn orders_without_an_answer_are_bounded() {
        let peer = peer();
        let mut waiting: Vec<_> = (0..=COMMANDS_MAX as u64)
            .map(|command| {
                let (done, confirmed) = oneshot::channel();
                peer.expect(command, "00".into(), done);
                confirmed
            })
            .collect();
        assert!(waiting.pop().unwrap().try_recv().is_err(), "the last one was dropped");
        drop(waiting);
        let (done, mut confirmed) = oneshot::channel();
        peer.expect(1, "00".into(), done);
        peer.confirmed(1, 4);
        assert_eq!(confirmed.try_recv(), Ok(4), "those that nobody awaits make room");
    }

    #[test]
    fn what_a_start_has_counted_survives_its_connection() {
        let peers = Peers::default();
        let stats = |stamped| Stats { stamped, ..Stats::default() };
        assert_eq!(peers.counted("1", &stats(5)).stamped, 0);
        assert_eq!(peers.counted("1", &stats(9)).stamped, 5);
        assert_eq!(peers.counted("2", &stats(1)).stamped, 0);
    }
}
