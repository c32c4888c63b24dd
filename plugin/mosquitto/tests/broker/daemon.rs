//! A daemon that the test scripts: it speaks the frames of the real one, and answers as the test says.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use sluice_shared::frames::PROTOCOL;
use sluice_shared::frames::codec::{FrameBuffer, encode};
use sluice_shared::frames::from_daemon::{
    CertificateEntry, DaemonHello, DeviceEntry, FromDaemon, ReservedNames, RevokeTarget,
    SubjectDocument, Verdict,
};
use sluice_shared::frames::from_plugin::{FromPlugin, Question, Stats};
use sluice_shared::frames::secret::SecretText;
use sluice_shared::policy::document::PolicyDocument;
use sluice_shared::proof::{Boot, Proof, ProofKey, ProvenMessage, SignedProof};

use crate::certificates::Identity;
use crate::client::Received;
use crate::wait;

const SECRET: &[u8] = b"the secret of the scripted daemon";

/// A policy that gives every user all topics: what a test is about is not the policy.
const OPEN_POLICY: &str = r##"{"rules":[{"place":"rules[0]","topics":["#","$SYS/#"],"actions":7,"deny":false,"kinds":["user"]}]}"##;

/// The answer to a question; `None` leaves it without one.
type Answer = Box<dyn Fn(&Question) -> Option<Verdict> + Send>;

/// A scripted daemon.
pub struct Daemon {
    shared: Arc<Shared>,
    dir: tempfile::TempDir,
}

struct Shared {
    script: Mutex<Script>,
    received: Mutex<Vec<FromPlugin>>,
    connections: Mutex<Vec<UnixStream>>,
}

struct Script {
    devices: Vec<DeviceEntry>,
    policy: PolicyDocument,
    reserved: ReservedNames,
    answer: Answer,
    version: u64,
    boot: Boot,
    is_listening: bool,
}

impl Daemon {
    /// Listens, with an empty registry and users whose password is `good`.
    pub fn start() -> Self {
        let daemon = Self::prepared();
        daemon.listen();
        daemon
    }

    /// A daemon that does not listen yet.
    pub fn prepared() -> Self {
        let script = Script {
            devices: Vec::new(),
            policy: serde_json::from_str(OPEN_POLICY).unwrap(),
            reserved: ReservedNames::default(),
            answer: Box::new(|question| Some(good_password(question))),
            version: 0,
            boot: Boot(0),
            is_listening: false,
        };
        Self {
            shared: Arc::new(Shared {
                script: Mutex::new(script),
                received: Mutex::default(),
                connections: Mutex::default(),
            }),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// Listens from now on.
    pub fn listen(&self) {
        let _ = std::fs::remove_file(self.socket());
        let listener = UnixListener::bind(self.socket()).unwrap();
        self.shared.script.lock().unwrap().is_listening = true;
        let shared = self.shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                if !shared.script.lock().unwrap().is_listening {
                    return;
                }
                let shared = shared.clone();
                thread::spawn(move || shared.serve(stream));
            }
        });
    }

    /// Closes all connections and stops listening.
    pub fn vanish(&self) {
        self.shared.script.lock().unwrap().is_listening = false;
        let _ = std::fs::remove_file(self.socket());
        for connection in self.shared.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
    }

    /// The socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("plugin.sock")
    }

    /// Gives a device these certificates, and waits until the plugin has applied that.
    pub fn certify(&self, id: &str, identities: &[&Identity]) {
        let valid = (0, i64::MAX);
        self.certify_within(id, identities, valid);
    }

    /// Gives a device these certificates for a time, in microseconds since the epoch.
    pub fn certify_within(&self, id: &str, identities: &[&Identity], (from, until): (i64, i64)) {
        let certificates = identities.iter().map(|identity| CertificateEntry {
            fingerprint: identity.fingerprint().into(),
            from,
            until,
        });
        let entry = DeviceEntry { id: id.into(), certificates: certificates.collect() };
        let version = {
            let mut script = self.shared.script.lock().unwrap();
            script.devices.retain(|known| *known.id != *entry.id);
            script.devices.push(entry.clone());
            script.version += 1;
            script.version
        };
        self.send(&FromDaemon::Delta { version, devices: vec![entry] });
        self.wait_applied(version);
    }

    /// Sets the names of Sluice itself.
    pub fn reserve(&self, usernames: &[&str], client_ids: &[&str]) {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let names = ReservedNames {
            usernames: owned(usernames),
            client_ids: owned(client_ids),
            share_group_stem: None,
        };
        self.shared.script.lock().unwrap().reserved = names.clone();
        self.send(&FromDaemon::Reserved(names));
    }

    /// Replaces the policy, given as the JSON of its document.
    pub fn set_policy(&self, json: &str) {
        let policy: PolicyDocument = serde_json::from_str(json).unwrap();
        self.shared.script.lock().unwrap().policy = policy.clone();
        self.send(&FromDaemon::Policy { policy });
    }

    /// Answers questions so from now on.
    pub fn answer(&self, answer: impl Fn(&Question) -> Option<Verdict> + Send + 'static) {
        self.shared.script.lock().unwrap().answer = Box::new(answer);
    }

    /// Closes sessions.
    pub fn revoke(&self, command: u64, target: RevokeTarget) {
        self.send(&FromDaemon::Revoke { command, target });
    }

    /// Sends one frame to all plugins.
    pub fn send(&self, frame: &FromDaemon) {
        self.send_bytes(&encode(frame).unwrap());
    }

    /// Sends bytes that need not be a frame.
    pub fn send_bytes(&self, bytes: &[u8]) {
        for mut connection in self.shared.connections.lock().unwrap().iter() {
            let _ = connection.write_all(bytes);
        }
    }

    /// Waits until the plugin has applied a version.
    pub fn wait_applied(&self, version: u64) {
        wait::until("the plugin applies the registry", || {
            let is_it = |frame: &FromPlugin| matches!(frame, FromPlugin::Applied { version: applied } if *applied >= version);
            self.received().iter().any(is_it)
        });
    }

    /// Waits until a plugin has the first snapshot.
    pub fn wait_connected(&self) {
        self.wait_applied(0);
    }

    /// All frames so far.
    pub fn received(&self) -> Vec<FromPlugin> {
        self.shared.received.lock().unwrap().clone()
    }

    /// Forgets the frames so far.
    pub fn forget(&self) {
        self.shared.received.lock().unwrap().clear();
    }

    /// The next counters.
    pub fn stats(&self) -> Stats {
        self.forget();
        wait::for_some("the plugin sends counters", || {
            self.received().into_iter().find_map(|frame| match frame {
                FromPlugin::Stats(stats) => Some(*stats),
                _ => None,
            })
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.vanish();
    }
}

impl Shared {
    fn serve(&self, mut stream: UnixStream) {
        self.connections.lock().unwrap().push(stream.try_clone().unwrap());
        let mut buffer = FrameBuffer::default();
        let mut bytes = [0; 16_384];
        while let Ok(count) = stream.read(&mut bytes) {
            if count == 0 {
                return;
            }
            buffer.push(&bytes[..count]);
            while let Some(frame) = buffer.take::<FromPlugin>().expect("the plugin sends frames") {
                if self.react(&mut stream, &frame).is_err() {
                    return;
                }
                self.received.lock().unwrap().push(frame);
            }
        }
    }

    fn react(&self, stream: &mut UnixStream, frame: &FromPlugin) -> std::io::Result<()> {
        let mut script = self.script.lock().unwrap();
        let mut frames = Vec::new();
        match frame {
            FromPlugin::Hello(hello) => {
                script.boot = Boot(u64::from_str_radix(&hello.boot, 16).unwrap());
                let key = ProofKey::derive_text(SECRET, script.boot);
                frames.push(FromDaemon::Hello(DaemonHello {
                    protocol: PROTOCOL,
                    build: "test".into(),
                    key: Some(SecretText::new(&**key)),
                }));
                frames.push(FromDaemon::Policy { policy: script.policy.clone() });
                frames.push(FromDaemon::Reserved(script.reserved.clone()));
                frames.extend(script.snapshot());
            }
            FromPlugin::Resync { .. } => frames.extend(script.snapshot()),
            FromPlugin::Ask(question) => {
                if let Some(verdict) = (script.answer)(question) {
                    frames.push(FromDaemon::Verdict { id: question.id, verdict });
                }
            }
            _ => {}
        }
        drop(script);
        frames.iter().try_for_each(|frame| stream.write_all(&encode(frame).unwrap()))
    }
}

impl Script {
    fn snapshot(&self) -> Vec<FromDaemon> {
        let devices = self.devices.len() as u64;
        let mut frames = vec![FromDaemon::SnapshotBegin { version: self.version }];
        for part in self.devices.chunks(1_000) {
            frames.push(FromDaemon::SnapshotPart { devices: part.to_vec() });
        }
        frames.push(FromDaemon::SnapshotEnd { version: self.version, devices });
        frames
    }
}

/// Verifies the proof of a message as the real daemon does: the identity and the proof.
pub fn verify(message: &Received) -> Result<(String, Proof), String> {
    let one = |name: &str| {
        let mut found = message.properties.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Ok(value.clone()),
            (None, _) => Err(format!("no {name}")),
            _ => Err(format!("several {name}")),
        }
    };
    let value = one("sluice-publisher")?;
    let parsed = SignedProof::parse(value.as_bytes());
    let (identity, signed) = parsed.map_err(|error| error.to_string())?;
    let proven =
        ProvenMessage { identity, topic: message.topic.as_bytes(), payload: &message.payload };
    let key = ProofKey::derive(SECRET, signed.boot()).unwrap();
    let proof = key.verify(&signed, &proven).map_err(|error| error.to_string())?;
    Ok((String::from_utf8(identity.to_vec()).unwrap(), proof))
}

/// The verdict for a user of this name.
pub fn user(id: &str) -> Verdict {
    subject("user", id, None)
}

/// The verdict for a subject.
pub fn subject(kind: &str, id: &str, expires_at: Option<i64>) -> Verdict {
    Verdict::Accepted(SubjectDocument {
        kind: kind.into(),
        id: id.into(),
        groups: Vec::new(),
        scopes: Vec::new(),
        expires_at,
    })
}

fn good_password(question: &Question) -> Verdict {
    let secret = question.secret.as_ref().map(SecretText::expose);
    if secret == Some("good") {
        user(question.username.as_deref().unwrap_or("nameless"))
    } else {
        Verdict::Denied { reason: "the password is wrong".into() }
    }
}
