//! What a service manager receives of the real daemon at its socket: ready, reloads, stops, the status,
//! and the signs of life of the watchdog.
//!
//! `tests/package.sh` has the same with systemd itself.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::support::daemon::Settings;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;

/// How long a message may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// The service manager's end of the socket.
struct Manager(UnixDatagram);

// === impl Manager ===

impl Manager {
    fn at(address: &SocketAddr) -> Self {
        let socket = UnixDatagram::bind_addr(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// The next message.
    fn next(&self) -> String {
        let mut buffer = [0; 4_096];
        let length = self.0.recv(&mut buffer).expect("a message of the daemon");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// Reads until this message; what came before it.
    fn until(&self, message: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            let next = self.next();
            if next == message {
                return before;
            }
            assert!(before.len() < 10_000, "{message} does not come: {before:?}");
            before.push(next);
        }
    }
}

#[test]
fn systemd_receives_what_the_daemon_does() {
    let (broker, database) =
        (Mosquitto::start(MosquittoOptions::default()), Postgres::shared().database());
    let settings = Settings::new(&broker, &database);
    let socket = settings.dir().path().join("notify");
    let manager = Manager::at(&SocketAddr::from_pathname(&socket).unwrap());
    let daemon = settings
        .set("NOTIFY_SOCKET", socket.to_str().unwrap())
        .set("WATCHDOG_USEC", "300000")
        .set("MQTT_KEEPALIVE_SECONDS", "5")
        .start();
    let before = manager.until("READY=1");
    assert!(
        before.contains(&"STATUS=not ready: start: starting: the schema is being checked".into()),
        "{before:?}"
    );
    manager.until("STATUS=ready");
    // More than one: the signs repeat.
    manager.until("WATCHDOG=1");
    manager.until("WATCHDOG=1");
    daemon.signal("HUP");
    manager.until("RELOADING=1");
    manager.until("READY=1");
    broker.signal("STOP");
    let mut status = manager.next();
    while !status.starts_with("STATUS=not ready: broker: ") {
        status = manager.next();
    }
    broker.signal("CONT");
    manager.until("STATUS=ready");
    assert_eq!(daemon.terminate(), 0);
    manager.until("STOPPING=1\nSTATUS=stopping");
}

#[test]
fn a_container_without_paths_has_an_abstract_name_and_a_watchdog_of_another_process_is_ignored() {
    let name = format!("sluice-test-{}", std::process::id());
    let manager = Manager::at(&SocketAddr::from_abstract_name(&name).unwrap());
    // Without Postgres it is never ready, and says so.
    let daemon = Settings::empty()
        .set("DATABASE_URL", "postgres://nobody:x@127.0.0.1:1/none")
        .set("MQTT_HOST", "127.0.0.1")
        .set("MQTT_PORT", "1")
        .set("NOTIFY_SOCKET", &format!("@{name}"))
        .set("WATCHDOG_USEC", "1000")
        .set("WATCHDOG_PID", "1")
        .start();
    let mut seen = vec![manager.next()];
    assert!(seen[0].starts_with("STATUS=not ready: "), "{seen:?}");
    daemon.wait_unready();
    daemon.terminate();
    seen.extend(manager.until("STOPPING=1\nSTATUS=stopping"));
    assert!(
        !seen.iter().any(|message| message == "READY=1" || message == "WATCHDOG=1"),
        "{seen:?}"
    );
}
