//! Accepts plugins at the Unix socket of `PLUGIN_SOCKET`, and reports whether one is connected.
//!
//! Only processes of allowed users may connect. It removes a socket file only if nobody listens there, and
//! no file of another kind.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::connection;
use super::peers::Peers;
use super::sources::{Link, LinkSources};
use crate::config::sections::plugin::{PluginConfig, broker_uids};

/// The mode of the socket: its owner and its group may connect.
const MODE: u32 = 0o660;

/// The most connections: a broker has one for each listener with a plugin of its own.
const CONNECTIONS_MAX: usize = 16;

/// How long another process at the socket may take to accept.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);

/// How often readiness shows the plugins.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// How long no plugin may be connected before readiness warns.
const ABSENCE_MAX: Duration = Duration::from_secs(10);

/// The pause between two logged refusals.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// The pause after a failed accept, such as without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The component of readiness. It warns only: messages are stored without a plugin.
const COMPONENT: &str = "plugin";

/// Why the socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process listens.
    #[error(
        "another process listens at PLUGIN_SOCKET {0}: end it, or set PLUGIN_SOCKET to another path"
    )]
    InUse(PathBuf),
    /// A file of another kind.
    #[error(
        "PLUGIN_SOCKET {0} is a file that is no socket: remove it, or set PLUGIN_SOCKET to another path"
    )]
    OtherFile(PathBuf),
    /// The error of the system.
    #[error(
        "cannot listen at PLUGIN_SOCKET {path}: {error}; create its directory, and give this user access"
    )]
    Io {
        /// The socket.
        path: PathBuf,
        /// The error.
        error: io::Error,
    },
}

/// Listens for plugins.
pub struct PluginListener {
    listener: UnixListener,
    path: PathBuf,
    /// The device and the number of the socket file.
    file: (u64, u64),
    uids: Vec<u32>,
    link: Arc<Link>,
    accepted: u64,
    warned_at: Option<Instant>,
}

// === impl PluginListener ===

impl PluginListener {
    /// Listens. `None` means that `PLUGIN_SOCKET` is unset.
    pub async fn open(
        config: &PluginConfig,
        sources: LinkSources,
    ) -> Result<Option<Self>, SocketError> {
        let Some(path) = &config.socket else { return Ok(None) };
        remove_stale(path).await?;
        let failed = |error| SocketError::Io { path: path.clone(), error };
        let listener = UnixListener::bind(path).map_err(failed)?;
        fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(failed)?;
        let file = fs::symlink_metadata(path).map_err(failed)?;
        let mut uids = config.peer_uids.clone().unwrap_or_else(broker_uids);
        if config.peer_uids.is_none() {
            // The socket belongs to the user of this process.
            uids.push(file.uid());
        }
        tracing::info!(path = %path.display(), ?uids, "Sluice listens for the broker's plugin");
        sources.metrics.series.expected.set(1);
        let link =
            Link { sources, proof_secret: config.proof_secret.clone(), peers: Peers::default() };
        Ok(Some(Self {
            listener,
            path: path.clone(),
            file: (file.dev(), file.ino()),
            uids,
            link: Arc::new(link),
            accepted: 0,
            warned_at: None,
        }))
    }

    /// Serves plugins until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        let mut report = interval(REPORT_INTERVAL);
        report.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_seen = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => self.take(stream, &mut connections),
                    Err(error) => {
                        self.warn(&format!("a plugin could not connect: {error}"));
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_ended) = connections.join_next() => {}
                _tick = report.tick() => self.report(&mut last_seen),
            }
            self.count();
        }
        connections.shutdown().await;
        self.remove_own_file();
    }

    /// Takes a connection, if its user may connect and there is room.
    fn take(&mut self, stream: UnixStream, connections: &mut JoinSet<()>) {
        let refused = match stream.peer_cred() {
            Err(error) => Some(format!("its user is unknown: {error}")),
            Ok(peer) if !self.uids.contains(&peer.uid()) => Some(format!(
                "its user {} is none of {:?}: run the broker as one of them, or set PLUGIN_PEER_UIDS",
                peer.uid(),
                self.uids
            )),
            Ok(_) if connections.len() >= CONNECTIONS_MAX => {
                Some(format!("{CONNECTIONS_MAX} are connected"))
            }
            Ok(_) => None,
        };
        if let Some(why) = refused {
            self.link.sources.metrics.series.refused.inc();
            return self.warn(&format!("a connection to PLUGIN_SOCKET was refused: {why}"));
        }
        self.accepted += 1;
        let (link, number) = (Arc::clone(&self.link), self.accepted);
        connections.spawn(async move {
            let ended = connection::serve(link, stream, number).await;
            tracing::warn!("the connection of a plugin has ended: {ended}");
        });
    }

    fn count(&self) {
        let (peers, series) = (self.link.peers.list(), &self.link.sources.metrics.series);
        series.connections.set(i64::try_from(peers.len()).unwrap_or(i64::MAX));
        series.queue.set(peers.iter().map(|peer| peer.queued.load(Ordering::Relaxed)).sum());
    }

    fn warn(&mut self, what: &str) {
        if self.warned_at.is_none_or(|at| at.elapsed() >= WARN_INTERVAL) {
            self.warned_at = Some(Instant::now());
            tracing::warn!("{what}");
        }
    }

    /// Shows in readiness which plugins are connected, and what they warn of.
    fn report(&self, last_seen: &mut Instant) {
        let (peers, readiness) = (self.link.peers.list(), &self.link.sources.readiness);
        if peers.is_empty() {
            if last_seen.elapsed() >= ABSENCE_MAX {
                let why = format!(
                    "no plugin is connected at PLUGIN_SOCKET {}: start the broker with the plugin, and let its user \
                     access the socket",
                    self.path.display()
                );
                readiness.warn(COMPONENT, Some(why));
            }
            return readiness.note(COMPONENT, None);
        }
        *last_seen = Instant::now();
        let warnings: Vec<String> = peers
            .iter()
            .flat_map(|peer| {
                let of = |warning| format!("profile {}: {warning}", peer.hello.profile);
                peer.hello.warnings.iter().map(of)
            })
            .collect();
        readiness.warn(COMPONENT, (!warnings.is_empty()).then(|| warnings.join("; ")));
        let notes = peers.iter().map(|peer| {
            let hello = &peer.hello;
            format!(
                "plugin {} at Mosquitto {}, profile {}, protocol {}, registry version {}, behind by {} ms",
                hello.build,
                hello.broker,
                hello.profile,
                hello.protocol,
                peer.applied(),
                peer.behind_ms()
            )
        });
        readiness.note(COMPONENT, Some(notes.collect::<Vec<_>>().join("; ")));
    }

    /// Removes the socket file, unless another process has replaced it.
    fn remove_own_file(&self) {
        let is_own = |file: fs::Metadata| (file.dev(), file.ino()) == self.file;
        if fs::symlink_metadata(&self.path).is_ok_and(is_own)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), "the socket was not removed: {error}");
        }
    }
}

// --- private helpers ---

/// Removes the socket of a process that has ended.
async fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let failed = |error| SocketError::Io { path: path.to_owned(), error };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(SocketError::OtherFile(path.to_owned()));
        }
        Ok(_) => {}
    }
    match timeout(PROBE_PATIENCE, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Ok(Err(error)) => Err(failed(error)),
        // It accepts, or its queue is full: it lives.
        Ok(Ok(_)) | Err(_) => Err(SocketError::InUse(path.to_owned())),
    }
}
