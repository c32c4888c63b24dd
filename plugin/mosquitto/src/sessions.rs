//! The sessions that the plugin has accepted, by the broker's client.
//!
//! The broker reuses the address of a client for later clients, so an entry counts only together with its
//! client id. An entry stays after its session has ended: the will comes later, and a stored session
//! receives messages. Such entries are bounded. It decides nothing.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::ffi::{CStr, CString};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use sluice_shared::frames::from_plugin::{ClosedWhy, SessionOpened};
use sluice_shared::subject::Subject;
use sluice_shared::time::Timestamp;

use crate::decisions::RecentDecisions;
use crate::registry::{Fingerprint, fingerprint_text};
use crate::request::ClientKey;

/// The most entries of sessions that have ended.
pub(crate) const OFFLINE_MAX: usize = 100_000;

/// One session.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the session")]
pub struct Session {
    /// Its number within the boot.
    pub number: u64,
    /// The client id.
    pub client_id: Arc<str>,
    /// Who uses it.
    pub holder: Holder,
    /// The identity as a stamp has it.
    pub label: Arc<CStr>,
    /// The certificate of the client.
    pub fingerprint: Option<Fingerprint>,
    /// When the certificate or the token ends.
    pub until: Option<Timestamp>,
    /// The address.
    pub address: Option<Box<str>>,
    /// Whether the broker may store the session when the client has gone.
    pub is_stored: bool,
    /// Whether the broker has accepted the CONNECT, so that it will report the end. Mosquitto 2.1 says so;
    /// before 2.1 the end of every client is reported.
    pub is_confirmed: bool,
    /// The user name that the broker shall use once the CONNECT is accepted.
    pub username: Option<CString>,
    /// Whether the client is no longer connected.
    pub is_offline: bool,
    /// Whether a later session uses its client id.
    pub is_superseded: bool,
    /// Why the session must end, once it must.
    pub ended: Option<ClosedWhy>,
    /// The last decisions about its topics.
    pub recent: RecentDecisions,
}

/// Who uses a session.
#[derive(Clone, Debug)]
pub enum Holder {
    /// A subject that the plugin authenticated.
    Subject {
        /// The subject.
        subject: Arc<Subject>,
        /// Whether a password or a token proved it, rather than a certificate.
        by_login: bool,
    },
    /// A user of the broker's own password file: the broker decides about it.
    Broker,
}

/// A new session.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// The client.
    pub client: ClientKey,
    /// The client id.
    pub client_id: Arc<str>,
    /// Who uses it.
    pub holder: Holder,
    /// The identity, without NUL.
    pub identity: CString,
    /// The certificate of the client.
    pub fingerprint: Option<Fingerprint>,
    /// When the certificate or the token ends.
    pub until: Option<Timestamp>,
    /// The address.
    pub address: Option<Box<str>>,
    /// Whether the broker may store the session when the client has gone.
    pub is_stored: bool,
    /// Whether the broker has accepted the CONNECT already.
    pub is_confirmed: bool,
    /// The user name that the broker shall use once the CONNECT is accepted.
    pub username: Option<CString>,
    /// Whether the client is not connected.
    pub is_offline: bool,
}

/// All sessions.
#[derive(Debug, Default)]
pub struct Sessions {
    by_client: HashMap<ClientKey, Session, BuildHasherDefault<PointerHasher>>,
    by_client_id: HashMap<Arc<str>, ClientKey>,
    by_identity: HashMap<Arc<CStr>, HashSet<ClientKey>>,
    ends: BTreeSet<(Timestamp, ClientKey)>,
    offline: VecDeque<(ClientKey, u64)>,
    last_number: u64,
    online: usize,
}

/// Spreads addresses, which are multiples of 16: one multiplication instead of a hash of bytes.
#[derive(Debug, Default)]
pub struct PointerHasher(u64);

impl Hasher for PointerHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_usize(&mut self, address: usize) {
        self.0 = (address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

impl PartialOrd for ClientKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ClientKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl Session {
    /// The identity as text.
    pub fn identity(&self) -> &str {
        self.label.to_str().unwrap_or_default()
    }

    /// The frame that reports it.
    pub fn opened(&self) -> SessionOpened {
        SessionOpened {
            session: self.number,
            identity: self.identity().to_owned(),
            client_id: (*self.client_id).to_owned(),
            fingerprint: self.fingerprint.as_ref().map(fingerprint_text),
            address: self.address.as_deref().map(str::to_owned),
        }
    }
}

impl Sessions {
    /// Stores a session; an earlier one of the same client is replaced.
    pub fn open(&mut self, new: NewSession) -> &Session {
        self.remove(new.client);
        self.last_number += 1;
        let label: Arc<CStr> = new.identity.into();
        let session = Session {
            number: self.last_number,
            client_id: new.client_id.clone(),
            holder: new.holder,
            label: label.clone(),
            fingerprint: new.fingerprint,
            until: new.until,
            address: new.address,
            is_stored: new.is_stored,
            is_confirmed: new.is_confirmed,
            username: new.username,
            is_offline: new.is_offline,
            is_superseded: false,
            ended: None,
            recent: RecentDecisions::default(),
        };
        if new.is_offline {
            self.offline.push_back((new.client, session.number));
        }
        self.online += usize::from(new.is_confirmed && !new.is_offline);
        let former = self.by_client_id.insert(new.client_id, new.client);
        if let Some(former) = former.and_then(|client| self.by_client.get_mut(&client)) {
            former.is_superseded = true;
        }
        self.by_identity.entry(label).or_default().insert(new.client);
        if let Some(until) = new.until {
            self.ends.insert((until, new.client));
        }
        self.by_client.entry(new.client).insert_entry(session).into_mut()
    }

    /// The session of this client with this id.
    pub fn get(&self, client: ClientKey, client_id: &[u8]) -> Option<&Session> {
        self.by_client.get(&client).filter(|session| session.client_id.as_bytes() == client_id)
    }

    /// The session of this client, whatever its id.
    pub fn of_client(&self, client: ClientKey) -> Option<&Session> {
        self.by_client.get(&client)
    }

    /// The session that uses this client id now, or used it last.
    pub fn of_client_id(&self, client_id: &str) -> Option<(ClientKey, &Session)> {
        let client = *self.by_client_id.get(client_id)?;
        Some((client, self.by_client.get(&client)?))
    }

    /// The clients of this identity.
    pub fn of_identity(&self, identity: &str) -> Vec<ClientKey> {
        let Ok(label) = CString::new(identity) else { return Vec::new() };
        self.by_identity.get(&*label).into_iter().flatten().copied().collect()
    }

    /// The session of this client with this id, to change it.
    pub fn get_mut(&mut self, client: ClientKey, client_id: &[u8]) -> Option<&mut Session> {
        self.by_client.get_mut(&client).filter(|session| session.client_id.as_bytes() == client_id)
    }

    /// Marks that the session must end. `None`: it is marked already, or is not there.
    pub fn end(&mut self, client: ClientKey, why: ClosedWhy) -> Option<&Session> {
        let session = self.by_client.get_mut(&client)?;
        if session.ended.is_some() {
            return None;
        }
        session.ended = Some(why);
        if let Some(until) = session.until {
            self.ends.remove(&(until, client));
        }
        Some(session)
    }

    /// Gives a session a new proof of the same identity.
    pub fn renew(&mut self, client: ClientKey, holder: Holder, until: Option<Timestamp>) {
        if let Some(session) = self.by_client.get_mut(&client) {
            session.holder = holder;
            session.recent = RecentDecisions::default();
        }
        self.set_until(client, until);
    }

    /// The broker has accepted the CONNECT. Returns the session if that is news.
    pub fn confirm(&mut self, client: ClientKey, client_id: &[u8]) -> Option<&mut Session> {
        let session = self.by_client.get_mut(&client)?;
        if session.is_confirmed || session.client_id.as_bytes() != client_id {
            return None;
        }
        session.is_confirmed = true;
        self.online += usize::from(!session.is_offline);
        Some(session)
    }

    /// Changes the end of a session.
    pub fn set_until(&mut self, client: ClientKey, until: Option<Timestamp>) {
        let Some(session) = self.by_client.get_mut(&client) else { return };
        let old = std::mem::replace(&mut session.until, until);
        if old == until || session.ended.is_some() {
            return;
        }
        if let Some(old) = old {
            self.ends.remove(&(old, client));
        }
        if let Some(until) = until {
            self.ends.insert((until, client));
        }
    }

    /// Marks that the client is no longer connected. Returns the session if it was connected.
    pub fn disconnect(&mut self, client: ClientKey) -> Option<&Session> {
        let session = self.by_client.get_mut(&client)?;
        if session.is_offline {
            return None;
        }
        if !session.is_confirmed {
            self.remove(client);
            return None;
        }
        session.is_offline = true;
        self.online -= 1;
        self.offline.push_back((client, session.number));
        self.evict();
        self.by_client.get(&client)
    }

    /// Forgets the session of this client.
    pub fn remove(&mut self, client: ClientKey) {
        let Some(session) = self.by_client.remove(&client) else { return };
        self.online -= usize::from(session.is_confirmed && !session.is_offline);
        if let Some(until) = session.until {
            self.ends.remove(&(until, client));
        }
        if self.by_client_id.get(&session.client_id) == Some(&client) {
            self.by_client_id.remove(&session.client_id);
        }
        if let Some(clients) = self.by_identity.get_mut(&session.label) {
            clients.remove(&client);
            if clients.is_empty() {
                self.by_identity.remove(&session.label);
            }
        }
    }

    /// The next end of a session.
    pub fn next_end(&self) -> Option<Timestamp> {
        self.ends.first().map(|(until, _)| *until)
    }

    /// The clients whose sessions have reached their end.
    pub fn due(&self, now: Timestamp) -> Vec<ClientKey> {
        self.ends.iter().take_while(|(until, _)| *until <= now).map(|(_, client)| *client).collect()
    }

    /// All sessions.
    pub fn iter(&self) -> impl Iterator<Item = (ClientKey, &Session)> {
        self.by_client.iter().map(|(client, session)| (*client, session))
    }

    /// How many clients are connected.
    pub const fn online(&self) -> usize {
        self.online
    }

    /// Keeps the entries of ended sessions within their bound.
    fn evict(&mut self) {
        while self.offline.len() > OFFLINE_MAX {
            let Some((client, number)) = self.offline.pop_front() else { return };
            let is_same = |session: &Session| session.number == number && session.is_offline;
            if self.by_client.get(&client).is_some_and(is_same) {
                self.remove(client);
            }
        }
    }
}
