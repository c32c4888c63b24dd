//! Notifies the service manager (systemd, or another with its protocol): the daemon is ready, reloads,
//! stops; its readiness in one line; and, as its watchdog, that the tasks of the daemon still run.
//!
//! The task runs on the thread of all other tasks, so a thread that is stuck stops the watchdog as it
//! stops `/livez`. It never waits for the service manager: what could not be sent is sent at the next
//! tick. A crate would do no more than this file: one datagram for each message.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Readiness;

/// How often the status is compared with what was sent.
const PERIOD: Duration = Duration::from_secs(1);

/// Longest status: the service manager reads at most 4,096 bytes of a datagram.
const MAX_STATUS_BYTES: usize = 1_000;

/// How far the daemon is: components report, and [`ServiceManager`] passes it on. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceProgress(watch::Sender<Stage>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stage {
    is_started: bool,
    /// Orders to reload, counted by each component that follows them.
    reloads_begun: u64,
    reloads_ended: u64,
}

/// The service manager that started this process.
#[derive(Debug)]
pub(crate) struct ServiceManager {
    socket: UnixDatagram,
    address: SocketAddr,
    /// The longest time between two signs of life.
    watchdog: Option<Duration>,
}

/// What the service manager has received.
#[derive(Debug, Default)]
struct SentNotices {
    is_started: bool,
    is_stopping: bool,
    /// RELOADING was sent, and no READY since.
    is_reloading: bool,
    reloads_begun: u64,
    status: String,
    sign_of_life: Option<Instant>,
}

// === impl ServiceProgress ===

impl ServiceProgress {
    /// The daemon listens, and the schema fits.
    pub fn started(&self) {
        self.0.send_modify(|stage| stage.is_started = true);
    }

    /// A component begins to read its files again.
    pub fn reload_begins(&self) {
        self.0.send_modify(|stage| stage.reloads_begun += 1);
    }

    /// The component has read its files.
    pub fn reload_ends(&self) {
        self.0.send_modify(|stage| stage.reloads_ended += 1);
    }
}

// === impl ServiceManager ===

impl ServiceManager {
    /// The one that the environment names; `None` without one.
    pub fn of_process() -> Option<Self> {
        let name = std::env::var_os("NOTIFY_SOCKET")?;
        let variable = |name| std::env::var(name).ok();
        let is_ours =
            variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let micros =
            variable("WATCHDOG_USEC").filter(|_| is_ours).and_then(|micros| micros.parse().ok());
        Self::at(&name, micros.map(Duration::from_micros))
    }

    fn at(name: &OsStr, watchdog: Option<Duration>) -> Option<Self> {
        let open = || {
            let address = address(name)?;
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            Ok::<_, io::Error>(Self { socket, address, watchdog })
        };
        open()
            .inspect_err(|error| {
                tracing::warn!(
                    "NOTIFY_SOCKET cannot be used: {error}; the service manager receives nothing"
                );
            })
            .ok()
    }

    /// Runs until `end`; after `stop` the daemon is stopping.
    pub async fn run(
        self,
        progress: ServiceProgress,
        readiness: Readiness,
        stop: CancellationToken,
        end: CancellationToken,
    ) {
        let mut stage = progress.0.subscribe();
        let (mut sent, mut has_failed) = (SentNotices::default(), false);
        let mut ticks = interval(self.sign_interval().map_or(PERIOD, |sign| sign.min(PERIOD)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = end.cancelled() => return,
                () = stop.cancelled(), if !sent.is_stopping => {}
                // The sender is in `progress`, so this never fails.
                _ = stage.changed() => {}
                _ = ticks.tick() => {}
            }
            let now = *stage.borrow_and_update();
            let result = self.update(now, stop.is_cancelled(), &readiness, &mut sent);
            if let Err(error) = &result
                && !has_failed
            {
                tracing::warn!("notifying the service manager failed: {error}; Sluice retries");
            }
            has_failed = result.is_err();
            if has_failed {
                // Not before the next tick, or a full socket would keep the thread busy.
                ticks.tick().await;
            }
        }
    }

    /// Sends what changed, and a sign of life when one is due.
    fn update(
        &self,
        stage: Stage,
        is_stopping: bool,
        readiness: &Readiness,
        sent: &mut SentNotices,
    ) -> io::Result<()> {
        if is_stopping && !sent.is_stopping {
            self.send("STOPPING=1\nSTATUS=stopping")?;
            sent.is_stopping = true;
        }
        if stage.is_started && !sent.is_started && !sent.is_stopping {
            self.send("READY=1")?;
            sent.is_started = true;
        }
        // A unit that starts or stops cannot be reloading.
        if sent.is_started && !sent.is_stopping {
            if stage.reloads_begun > sent.reloads_begun {
                self.send("RELOADING=1")?;
                (sent.is_reloading, sent.reloads_begun) = (true, stage.reloads_begun);
            }
            if sent.is_reloading && stage.reloads_begun == stage.reloads_ended {
                self.send("READY=1")?;
                sent.is_reloading = false;
            }
        }
        let status = one_line(&readiness.sentence());
        if status != sent.status && !sent.is_stopping {
            self.send(&format!("STATUS={status}"))?;
            sent.status = status;
        }
        if let Some(interval) = self.sign_interval()
            && sent.sign_of_life.is_none_or(|last| last.elapsed() >= interval)
        {
            self.send("WATCHDOG=1")?;
            sent.sign_of_life = Some(Instant::now());
        }
        Ok(())
    }

    /// Two signs of life may be lost.
    fn sign_interval(&self) -> Option<Duration> {
        self.watchdog.map(|longest| longest / 3).filter(|interval| !interval.is_zero())
    }

    fn send(&self, message: &str) -> io::Result<()> {
        self.socket.send_to_addr(message.as_bytes(), &self.address).map(drop)
    }
}

// === private helpers ===

/// A path, or `@` and an abstract name.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "it is neither a path nor an abstract name",
        )),
    }
}

/// The text without line breaks and other control characters, cut at [`MAX_STATUS_BYTES`].
fn one_line(text: &str) -> String {
    let mut text = text.replace(char::is_control, " ");
    text.truncate(text.floor_char_boundary(MAX_STATUS_BYTES));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_TIME: Duration = Duration::from_micros(1);

    fn pair(name: &OsStr) -> (UnixDatagram, ServiceManager) {
        let receiver = UnixDatagram::bind_addr(&address(name).unwrap()).unwrap();
        receiver.set_nonblocking(true).unwrap();
        (receiver, ServiceManager::at(name, None).unwrap())
    }

    fn received(receiver: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 4_096];
        std::iter::from_fn(|| receiver.recv(&mut buffer).ok().map(|n| buffer[..n].to_vec()))
            .map(|bytes| String::from_utf8(bytes).unwrap())
            .collect()
    }

    #[test]
    fn each_stage_is_one_message_in_order_and_a_status_only_when_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let (receiver, manager) = pair(dir.path().join("notify").as_os_str());
        let (progress, readiness, mut sent) =
            (ServiceProgress::default(), Readiness::default(), SentNotices::default());
        let mut update = |is_stopping| {
            let stage = *progress.0.borrow();
            manager.update(stage, is_stopping, &readiness, &mut sent).unwrap();
            received(&receiver)
        };
        readiness.unwell("start", "starting\nslowly");
        assert_eq!(update(false), ["STATUS=not ready: start: starting slowly"]);
        progress.reload_begins();
        progress.reload_ends();
        assert!(update(false).is_empty(), "a unit that starts is not reloading");
        progress.started();
        readiness.well("start");
        assert_eq!(update(false), ["READY=1", "RELOADING=1", "READY=1", "STATUS=ready"]);
        assert!(update(false).is_empty());
        progress.reload_begins();
        assert_eq!(update(false), ["RELOADING=1"]);
        progress.reload_ends();
        assert_eq!(update(false), ["READY=1"]);
        progress.reload_begins();
        assert_eq!(update(true), ["STOPPING=1\nSTATUS=stopping"]);
        readiness.unwell("broker", "gone");
        assert!(update(true).is_empty());
    }

    #[test]
    fn a_sign_of_life_comes_when_it_is_due() {
        let dir = tempfile::tempdir().unwrap();
        let (receiver, mut manager) = pair(dir.path().join("notify").as_os_str());
        let mut sent = SentNotices { status: "ready".to_owned(), ..SentNotices::default() };
        let mut update = |manager: &ServiceManager| {
            manager.update(Stage::default(), true, &Readiness::default(), &mut sent).unwrap();
            received(&receiver).last().cloned()
        };
        manager.watchdog = Some(Duration::from_hours(1));
        assert_eq!(update(&manager).as_deref(), Some("WATCHDOG=1"));
        assert_eq!(update(&manager), None);
        manager.watchdog = Some(NO_TIME * 3);
        assert_eq!(update(&manager).as_deref(), Some("WATCHDOG=1"));
    }

    #[test]
    fn what_a_socket_without_a_reader_refused_is_sent_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = ServiceManager::at(path.as_os_str(), None).unwrap();
        let stage = Stage { is_started: true, ..Stage::default() };
        let mut sent = SentNotices::default();
        assert!(manager.update(stage, false, &Readiness::default(), &mut sent).is_err());
        let receiver = UnixDatagram::bind(&path).unwrap();
        receiver.set_nonblocking(true).unwrap();
        manager.update(stage, false, &Readiness::default(), &mut sent).unwrap();
        assert_eq!(received(&receiver), ["READY=1", "STATUS=ready"]);
    }

    #[test]
    fn an_abstract_name_is_an_address_and_a_relative_path_is_none() {
        let name = format!("@sluice-test-{}", std::process::id());
        let (receiver, manager) = pair(OsStr::new(&name));
        manager.send("READY=1").unwrap();
        assert_eq!(received(&receiver), ["READY=1"]);
        assert!(ServiceManager::at(OsStr::new("notify"), None).is_none());
    }

    #[test]
    fn a_long_status_is_cut_at_a_character() {
        let cut = one_line(&"ü".repeat(MAX_STATUS_BYTES));
        assert_eq!(cut.len(), MAX_STATUS_BYTES);
        assert_eq!(one_line(&format!("a{}", "ü".repeat(MAX_STATUS_BYTES))).len(), 999);
    }
}
