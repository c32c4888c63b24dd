//! A client that behaves as the plugin does: it applies the registry, and answers the commands.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use sluice_shared::frames::PROTOCOL;
use sluice_shared::frames::codec::{FrameBuffer, encode};
use sluice_shared::frames::from_daemon::{
    CertificateEntry, DaemonHello, DeviceEntry, FromDaemon, ReservedNames, Verdict,
};
use sluice_shared::frames::from_plugin::{FromPlugin, PluginHello, Question, QuestionKind};
use sluice_shared::frames::secret::SecretText;
use sluice_shared::policy::document::PolicyDocument;

use crate::support::test_daemon::{TestDaemon, TestDaemonBuilder};
use crate::support::wait;

/// The number of the start that the client names.
pub const BOOT: u64 = 0x1234_5678_9abc_def0;

const ANSWER_TIME: Duration = Duration::from_mins(1);

/// Devices with their certificates.
pub type Registry = BTreeMap<String, Vec<CertificateEntry>>;

/// The client.
pub struct PluginClient {
    stream: UnixStream,
    buffer: FrameBuffer,
    part: Option<(u64, u64, Registry)>,
    next_question: u64,
    pub hello: Option<DaemonHello>,
    pub policies: Vec<PolicyDocument>,
    pub reserved: ReservedNames,
    pub registry: Registry,
    pub version: u64,
    pub snapshots: usize,
}

/// The socket of a daemon.
pub fn socket<B, D>(builder: TestDaemonBuilder<B, D>) -> (TestDaemonBuilder<B, D>, PathBuf) {
    let path = builder.settings().dir().path().join("plugin.sock");
    (builder.set("PLUGIN_SOCKET", path.to_str().unwrap()), path)
}

/// A daemon at the socket, with this registry.
pub fn daemon(sql: &str) -> (TestDaemon<(), crate::support::database::Database<'static>>, PathBuf) {
    let (builder, path) = socket(TestDaemon::builder().registry(sql));
    let it = builder.start();
    it.listening("OPS_BIND");
    it.daemon.wait_metric("sluice_db_listening", 1.0);
    (it, path)
}

/// SQL of a certificate; its fingerprint is the hash of its name.
pub fn certificate(device: &str, name: &str, columns: &str, values: &str) -> String {
    format!(
        "INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, issuer, \
         not_before, not_after{columns}) SELECT gen_random_uuid(), split_part('{device}', '/', 1), split_part('{device}', '/', 2), \
         encode(sha256('{name}'), 'hex'), substr(encode(sha256('{name}'), 'hex'), 1, 16), '{device}', 'CN=test', \
         now() - interval '1 day', now() + interval '1 day'{values};"
    )
}

// === impl PluginClient ===

impl PluginClient {
    /// Connects, and says nothing.
    pub fn connect(path: &Path) -> Self {
        let stream = wait::for_some("the daemon listens", || UnixStream::connect(path).ok());
        stream.set_read_timeout(Some(ANSWER_TIME)).unwrap();
        Self {
            stream,
            buffer: FrameBuffer::default(),
            part: None,
            next_question: 0,
            hello: None,
            policies: Vec::new(),
            reserved: ReservedNames::default(),
            registry: Registry::new(),
            version: 0,
            snapshots: 0,
        }
    }

    /// Connects, says hello, and waits for the first snapshot.
    pub fn greet(path: &Path) -> Self {
        let mut client = Self::connect(path);
        client.send(&FromPlugin::Hello(hello()));
        client.until("the first snapshot", |client| client.snapshots > 0);
        client
    }

    pub fn send(&mut self, frame: &impl Serialize) {
        let bytes = encode(frame).unwrap();
        self.send_bytes(&bytes);
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        // The daemon may have closed the connection.
        let _ = self.stream.write_all(bytes);
    }

    /// The next frame; `None` when the daemon has closed the connection.
    pub fn read(&mut self) -> Option<FromDaemon> {
        let mut bytes = [0; 16_384];
        loop {
            if let Some(frame) = self.buffer.take().unwrap() {
                return Some(frame);
            }
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => self.buffer.push(&bytes[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("the daemon sends nothing: {error}"),
            }
        }
    }

    /// Waits until the daemon has closed the connection.
    pub fn wait_closed(&mut self) {
        while self.read().is_some() {}
    }

    /// Applies frames until the condition holds. A ping each second makes a wait that fails end.
    pub fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let mut pings = 0;
        while !holds(self) {
            let frame = self.read().unwrap_or_else(|| panic!("closed before {what}"));
            pings += u64::from(frame == FromDaemon::Ping);
            assert!(pings < ANSWER_TIME.as_secs(), "{what}: not within {ANSWER_TIME:?}");
            self.apply(frame);
        }
    }

    /// Applies frames until one is no part of the registry, the policy or the names.
    pub fn other(&mut self) -> FromDaemon {
        loop {
            let frame = self.read().expect("the connection is open");
            if matches!(frame, FromDaemon::Verdict { .. } | FromDaemon::Revoke { .. }) {
                return frame;
            }
            self.apply(frame);
        }
    }

    /// Asks, and waits for the verdict.
    pub fn ask(
        &mut self,
        kind: QuestionKind,
        username: Option<&str>,
        secret: Option<&str>,
        client_id: &str,
    ) -> Verdict {
        self.next_question += 1;
        self.send(&FromPlugin::Ask(Question {
            id: self.next_question,
            kind,
            client_id: client_id.into(),
            username: username.map(Into::into),
            secret: secret.map(SecretText::new),
        }));
        match self.other() {
            FromDaemon::Verdict { id, verdict } if id == self.next_question => verdict,
            other => panic!("{other:?} is no answer to {}", self.next_question),
        }
    }

    /// The fingerprints of a device, sorted.
    pub fn fingerprints(&self, device: &str) -> Vec<String> {
        let certificates = self.registry.get(device).into_iter().flatten();
        let mut all: Vec<_> =
            certificates.map(|certificate| certificate.fingerprint.to_string()).collect();
        all.sort();
        all
    }

    fn apply(&mut self, frame: FromDaemon) {
        match frame {
            FromDaemon::Hello(hello) => self.hello = Some(hello),
            FromDaemon::Policy { policy } => self.policies.push(policy),
            FromDaemon::Reserved(names) => self.reserved = names,
            FromDaemon::SnapshotBegin { version } => {
                self.part = Some((version, 0, Registry::new()));
            }
            FromDaemon::SnapshotPart { devices } => {
                let (_, count, registry) = self.part.as_mut().expect("a snapshot has begun");
                *count += devices.len() as u64;
                apply_entries(registry, devices);
            }
            FromDaemon::SnapshotEnd { version, devices } => {
                let (begun, count, registry) = self.part.take().expect("a snapshot has begun");
                assert_eq!((begun, count), (version, devices));
                (self.registry, self.version) = (registry, version);
                self.snapshots += 1;
                self.send(&FromPlugin::Applied { version });
            }
            FromDaemon::Delta { version, devices } => {
                assert_eq!(version, self.version + 1);
                self.version = version;
                apply_entries(&mut self.registry, devices);
                self.send(&FromPlugin::Applied { version });
            }
            FromDaemon::Verdict { .. } | FromDaemon::Revoke { .. } => {
                panic!("{frame:?} is unexpected")
            }
            FromDaemon::Ping => {}
        }
    }
}

/// The hello of the client.
pub fn hello() -> PluginHello {
    PluginHello {
        protocol: PROTOCOL,
        build: "9.8.7".into(),
        broker: "2.0.11".into(),
        profile: "test".into(),
        boot: format!("{BOOT:016x}"),
        ticks: true,
        delayed: false,
        stamps: true,
        warnings: vec!["an option weakens it".into()],
    }
}

fn apply_entries(registry: &mut Registry, devices: Vec<DeviceEntry>) {
    for DeviceEntry { id, certificates } in devices {
        if certificates.is_empty() {
            registry.remove(&*id);
        } else {
            registry.insert(id.into(), certificates);
        }
    }
}
