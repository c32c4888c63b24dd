//! Publishers that number their messages and send again what they do not know the fate of, and the
//! count of what became of them. They publish only what the test grants, so that each test decides
//! how much flows and while what happens.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::thread::{self, JoinHandle};

use crate::support::daemon::{Daemon, Settings};
use crate::support::database::Database;
use crate::support::device::{Device, Fate, Message};
use crate::support::mosquitto::Mosquitto;
use crate::support::wait;

/// The tenant of all devices here.
pub const TENANT: &str = "acme";

/// Messages under way at once: few, so that a fault finds some of them in every state.
const CHUNK: u64 = 20;

/// Messages by device and number.
pub type Numbers = BTreeSet<(String, u64)>;

/// Publishers at work, one thread for each device. What a device is called says what it sends:
/// `timed-..` messages with a time of their own, `plain-..` ones without, `stranger-..` is not
/// registered, so its messages are refused.
pub struct Load {
    shared: Arc<Shared>,
    devices: Vec<&'static str>,
    publishers: Vec<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// So many messages each device may have published by now.
    granted: u64,
    closed: bool,
    /// So many of each device the broker has taken over.
    accepted: BTreeMap<&'static str, u64>,
}

// === impl Load ===

impl Load {
    /// Publishers of these devices; they are registered, but for strangers.
    pub fn start(broker: &Mosquitto, database: &Database<'_>, devices: &[&'static str]) -> Self {
        register(database, devices);
        let accepted = devices.iter().map(|device| (*device, 0)).collect();
        let state = Mutex::new(State { accepted, ..State::default() });
        let shared = Arc::new(Shared { state, changed: Condvar::new() });
        let publisher = |device: &&'static str| {
            let (device, port, shared) = (*device, broker.port(), Arc::clone(&shared));
            thread::spawn(move || shared.publish(device, port))
        };
        let publishers = devices.iter().map(publisher).collect();
        Self { shared, devices: devices.to_vec(), publishers }
    }

    /// Lets each device publish this many further messages; returns how many that makes for each.
    pub fn grant(&self, more: u64) -> u64 {
        let mut state = self.shared.state.lock().unwrap();
        state.granted += more;
        self.shared.changed.notify_all();
        state.granted
    }

    /// How many messages the broker has taken over.
    pub fn accepted(&self) -> u64 {
        self.shared.state.lock().unwrap().accepted.values().sum()
    }

    /// Waits until the broker has accepted this many of each device.
    pub fn wait_accepted(&self, of_each: u64) {
        wait::for_ok(&format!("the broker has {of_each} of each device"), || {
            let state = self.shared.state.lock().unwrap();
            if state.accepted.values().all(|accepted| *accepted >= of_each) {
                return Ok(());
            }
            Err(format!("it has {:?}", state.accepted))
        });
    }

    /// Waits until the broker has taken over everything that was granted: all of it, by device and
    /// number.
    pub fn finish(self) -> Numbers {
        let granted = {
            let mut state = self.shared.state.lock().unwrap();
            state.closed = true;
            self.shared.changed.notify_all();
            state.granted
        };
        for publisher in self.publishers {
            publisher.join().unwrap();
        }
        self.devices
            .iter()
            .flat_map(|device| (0..granted).map(|number| ((*device).to_owned(), number)))
            .collect()
    }
}

// === impl Shared ===

impl Shared {
    /// Publishes what is granted until the load is closed.
    fn publish(&self, device: &'static str, port: u16) {
        let mut link = connect(port, device);
        let mut next = 0;
        while let Some(granted) = self.wait_for_more(next) {
            let until = granted.min(next + CHUNK);
            let mut left: Vec<Message> =
                (next..until).map(|number| message(device, number)).collect();
            loop {
                let fates = link.publish_all(&left);
                let refused = fates.iter().find(|fate| matches!(fate, Fate::Refused(_)));
                assert_eq!(refused, None, "the broker refused a message of {device}");
                let mut unknown = fates.iter().map(|fate| *fate == Fate::Unknown);
                left.retain(|_| unknown.next().unwrap());
                if left.is_empty() {
                    break;
                }
                link = connect(port, device);
            }
            next = until;
            self.state.lock().unwrap().accepted.insert(device, next);
        }
    }

    /// How many are granted, once these are; `None` when the load has ended.
    fn wait_for_more(&self, published: u64) -> Option<u64> {
        let idle = |state: &mut State| state.granted == published && !state.closed;
        let state = self.changed.wait_while(self.state.lock().unwrap(), idle).unwrap();
        (state.granted > published).then_some(state.granted)
    }
}

/// A daemon's settings for these tests: every registered device is authenticated.
pub fn settings(broker: &Mosquitto, database: &Database<'_>) -> Settings {
    Settings::new(broker, database).set("REQUIRE_TOKEN", "0")
}

/// Registers the tenant and these devices, but for strangers.
pub fn register(database: &Database<'_>, devices: &[&str]) {
    database.query(&format!(
        "INSERT INTO tenants (tenant_id, name) VALUES ('{TENANT}', 'Acme') ON CONFLICT DO NOTHING"
    ));
    for device in devices.iter().filter(|device| !device.starts_with("stranger")) {
        database.query(&format!(
            "INSERT INTO devices (tenant_id, device_id) VALUES ('{TENANT}', '{device}') ON CONFLICT DO NOTHING"
        ));
    }
}

/// The message of a device with this number: always the same bytes, so that sent again it is a
/// repeated one.
pub fn message(device: &str, number: u64) -> Message {
    static START: LazyLock<i64> = LazyLock::new(|| sluice::clock::now().micros() / 1_000);
    let time = if device.starts_with("plain") {
        String::new()
    } else {
        format!("\"ts\":{},", *START + i64::try_from(number).unwrap())
    };
    let payload =
        format!("{{{time}\"seq\":{number},\"metrics\":{{\"volts\":3.25,\"room\":\"boiler\"}}}}");
    Message::new(format!("tenant/{TENANT}/device/{device}/telemetry"), payload)
}

/// How many rows telemetry has; none while Postgres does not answer.
pub fn rows(database: &Database<'_>) -> Option<u64> {
    let rows =
        database.try_query("SELECT count(*) FROM telemetry WHERE device_id <> 'marker'").ok()?;
    rows[0][0].parse().ok()
}

/// Waits until telemetry has at least this many rows.
pub fn wait_rows(database: &Database<'_>, at_least: u64) {
    wait::for_ok(&format!("telemetry has {at_least} rows"), || match rows(database) {
        Some(rows) if rows >= at_least => Ok(()),
        other => Err(format!("it has {other:?}")),
    });
}

/// Waits until these daemons have nothing left to do: markers, published behind everything else,
/// are stored, and what was delivered is acknowledged. As many markers for each daemon as a shared
/// subscription deals out in turn.
pub fn settle(broker: &Mosquitto, database: &Database<'_>, daemons: &[&Daemon]) {
    register(database, &["marker"]);
    let before: usize = database
        .value("SELECT count(*) FROM telemetry WHERE device_id = 'marker'")
        .parse()
        .unwrap();
    let markers: Vec<Message> =
        (0..daemons.len()).map(|more| message("marker", (before + more) as u64)).collect();
    let fates = connect(broker.port(), "marker").publish_all(&markers);
    assert!(fates.iter().all(|fate| *fate == Fate::Accepted), "{fates:?}");
    let count = "SELECT count(*) FROM telemetry WHERE device_id = 'marker'";
    database.wait_until(count, &(before + daemons.len()).to_string());
    for daemon in daemons {
        wait::until("everything is acknowledged", || {
            counted(daemon, "sluice_inflight_unacked") == 0
        });
    }
}

fn assert_none<T: Debug>(what: &str, found: &[T], total: usize) {
    assert!(
        found.is_empty(),
        "{} of {total} are {what}: {:?}{}",
        found.len(),
        first(found),
        wait::log_tails()
    );
}

/// Everything the broker took over is there exactly once: of the strangers in quarantine, of the
/// others in telemetry.
pub fn assert_each_once(database: &Database<'_>, accepted: &Numbers) {
    let found = found(database);
    let lost: Vec<_> = accepted.iter().filter(|key| !found.contains_key(*key)).collect();
    let twice: Vec<_> = found.iter().filter(|(_, count)| **count > 1).collect();
    let alien: Vec<_> = found.keys().filter(|key| !accepted.contains(*key)).collect();
    let total = accepted.len();
    assert_none("lost", &lost, total);
    assert_none("there twice", &twice, total);
    assert!(alien.is_empty(), "{} were never published: {:?}", alien.len(), first(&alien));
}

/// The same, but for messages without a time of their own, which may be there more often than once:
/// their acknowledgements may have been on their way when a connection ended.
pub fn assert_each_once_but_plain(database: &Database<'_>, accepted: &Numbers) {
    let found = found(database);
    let lost: Vec<_> = accepted.iter().filter(|key| !found.contains_key(*key)).collect();
    let twice: Vec<_> = found
        .iter()
        .filter(|((device, _), count)| **count > 1 && !device.starts_with("plain"))
        .collect();
    let total = accepted.len();
    assert_none("lost", &lost, total);
    assert_none("there twice", &twice, total);
}

/// How often each message is there.
pub fn found(database: &Database<'_>) -> BTreeMap<(String, u64), u64> {
    let stored =
        "SELECT device_id, seq, count(*) FROM telemetry WHERE device_id <> 'marker' GROUP BY 1, 2";
    let refused = "SELECT device_id, (convert_from(payload, 'UTF8')::jsonb ->> 'seq')::bigint, count(*) \
        FROM quarantine_events GROUP BY 1, 2";
    let mut found = BTreeMap::new();
    for row in [stored, refused].iter().flat_map(|sql| database.query(sql)) {
        *found.entry((row[0].clone(), row[1].parse().unwrap())).or_default() +=
            row[2].parse::<u64>().unwrap();
    }
    found
}

/// A metric that counts.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count is a whole number, and not large"
)]
pub fn counted(daemon: &Daemon, name: &str) -> u64 {
    daemon.metric(name) as u64
}

fn connect(port: u16, device: &str) -> Device {
    wait::for_ok(&format!("device {device} connects"), || {
        Device::try_connect(port, device, None).map_err(|error| error.to_string())
    })
}

fn first<T>(found: &[T]) -> &[T] {
    &found[..found.len().min(5)]
}
