//! Packet identifiers that a broker deals again: after it forgot what it had dealt, or because it
//! deals the lowest free one. Equal messages without `ts` are told apart by nothing else, so none
//! of them may be taken for one that was stored before.

use crate::broker::peer::{CONNECT, Caller, PUBACK, Peer, publish};
use crate::faults::lock::{LOCKED_OUT, Lock, wait_for_session};
use crate::pipeline::fixture::{Pipeline, TRUSTING, to};
use crate::support::daemon::{Daemon, Settings};
use crate::support::database::Database;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;
use crate::support::proxy::{Direction, Proxy};
use crate::support::wait;

const REGISTRY: &str = "INSERT INTO tenants VALUES ('acme', 'Acme'); INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'p1')";

/// Equal heartbeats of each round.
const BEATS: usize = 50;

const ROWS: &str = "SELECT count(*) FROM telemetry";

/// A pipeline whose connection to the broker can be cut.
struct Cuttable {
    pipeline: Pipeline,
    proxy: Proxy,
}

// === impl Cuttable ===

impl Cuttable {
    fn new(options: MosquittoOptions) -> Self {
        let broker = Mosquitto::start(options);
        let proxy = Proxy::to(broker.port());
        let port = proxy.port().to_string();
        let pipeline = Pipeline::beside(broker, &[TRUSTING[0], ("MQTT_PORT", &port)], REGISTRY);
        Self { pipeline, proxy }
    }

    /// Publishes a round of heartbeats.
    fn beat(&mut self) {
        self.pipeline.send(&vec![to("acme/device/p1/heartbeat", "{}"); BEATS]);
    }

    /// A round that is stored and acknowledged.
    fn beat_and_settle(&mut self) {
        self.beat();
        self.pipeline.settle();
        wait::until("all is acknowledged", || {
            self.pipeline.daemon.metric("sluice_inflight_unacked") < 0.5
        });
    }

    /// What the broker keeps from here on is what it comes back with.
    fn save(&self) {
        let saves = || self.pipeline.broker.log().matches("Saving in-memory database").count();
        let before = saves();
        self.pipeline.broker.signal("USR1");
        wait::until("the broker has saved", || saves() > before);
    }

    /// The broker is there again, and the daemon connected to it.
    fn start_again(&mut self) {
        self.pipeline.broker.start_again();
        self.pipeline.daemon.wait_ready();
        self.pipeline.device.reconnect().unwrap();
    }

    /// A round whose first delivery is lost with the connection, so that only a repeated one
    /// arrives.
    fn beat_into_a_cut(&mut self) {
        let sent = |dup: u8| {
            let line = format!("Sending PUBLISH to sluice (d{dup}, q1, r0");
            self.pipeline.broker.log().matches(&line).count()
        };
        let (first, repeated) = (sent(0), sent(1));
        self.proxy.hold(Direction::ToClient);
        let beats = vec![to("acme/device/p1/heartbeat", "{}"); BEATS];
        self.pipeline.device.publish_all(&beats);
        wait::until("the broker has sent them", || sent(0) >= first + BEATS);
        self.proxy.cut();
        self.proxy.release(Direction::ToClient);
        wait::until("the broker has sent them again", || sent(1) >= repeated + BEATS);
        self.pipeline.expect(BEATS);
        self.pipeline.settle();
    }
}

#[test]
fn without_persistence_packet_ids_are_reused_and_each_heartbeat_is_stored() {
    let mut cuttable =
        Cuttable::new(MosquittoOptions { persistence: false, ..MosquittoOptions::default() });
    cuttable.beat_and_settle();
    cuttable.pipeline.broker.stop();
    cuttable.start_again();
    cuttable.beat_into_a_cut();
    assert_eq!(cuttable.pipeline.value(ROWS), (2 * BEATS).to_string());
}

#[test]
fn after_a_crash_before_the_first_save_packet_ids_are_reused() {
    let mut cuttable = Cuttable::new(MosquittoOptions::default().line("autosave_interval 1800"));
    cuttable.beat_and_settle();
    cuttable.pipeline.broker.kill9();
    cuttable.start_again();
    cuttable.beat_into_a_cut();
    assert_eq!(cuttable.pipeline.value(ROWS), (2 * BEATS).to_string());
}

#[test]
fn after_a_saved_crash_packet_ids_are_reused_and_each_heartbeat_is_stored() {
    let mut cuttable = Cuttable::new(MosquittoOptions::default().line("autosave_interval 1800"));
    cuttable.save();
    cuttable.beat_and_settle();
    cuttable.pipeline.broker.kill9();
    cuttable.start_again();
    cuttable.beat_into_a_cut();
    assert_eq!(cuttable.pipeline.value(ROWS), (2 * BEATS).to_string());
    assert!(
        cuttable.pipeline.daemon.log().contains("the broker resumes the session"),
        "{}",
        wait::log_tails()
    );
}

#[test]
fn after_a_crash_before_the_ack_packet_ids_are_reused_and_all_is_stored() {
    let mut cuttable = Cuttable::new(MosquittoOptions::default().line("autosave_interval 1800"));
    cuttable.save();
    let lock = Lock::on(&cuttable.pipeline.database, "telemetry");
    cuttable.beat();
    wait_for_session(&cuttable.pipeline.database, LOCKED_OUT);
    cuttable.pipeline.daemon.wait_metric("sluice_messages_received_total", 50.0);
    cuttable.pipeline.broker.kill9();
    drop(lock);
    cuttable.pipeline.settle();
    cuttable.start_again();
    cuttable.beat_into_a_cut();
    assert_eq!(cuttable.pipeline.value(ROWS), (2 * BEATS).to_string());
}

// === A broker that deals the lowest free identifier ===

/// A daemon on a scripted broker.
fn scripted() -> (Peer, Database<'static>, Daemon) {
    let (peer, database) = (Peer::listen(), Postgres::shared().database());
    database
        .query("INSERT INTO tenants VALUES ('t', 'T'); INSERT INTO devices (tenant_id, device_id) VALUES ('t', 'd')");
    let settings =
        Settings::empty().set("MQTT_HOST", "127.0.0.1").set("MQTT_PORT", &peer.port().to_string());
    let daemon = settings.set("DATABASE_URL", &database.url()).set("REQUIRE_TOKEN", "0").start();
    (peer, database, daemon)
}

/// A message is delivered and handed over, and cannot be stored before `lock` goes; then the
/// connection ends.
fn deliver_and_cut(mut caller: Caller, database: &Database<'_>) -> Lock {
    let lock = Lock::on(database, "telemetry");
    caller.publish(1, b"{}");
    wait_for_session(database, LOCKED_OUT);
    lock
}

/// The message that stands under identifier 1 is sent again and acknowledged.
fn repeat(caller: &mut Caller) {
    caller.send(&publish(0x3a, 1, &[], b"{}"));
    caller.expect_answer(PUBACK, 1);
}

#[test]
fn an_identifier_that_was_acknowledged_may_stand_for_another_message() {
    let (peer, database, _daemon) = scripted();
    let mut caller = peer.welcome(false);
    caller.publish(1, b"{}");
    caller.expect_answer(PUBACK, 1);
    // Free again, it is dealt to an equal message, which is lost with the connection.
    drop(caller);
    repeat(&mut peer.welcome(true));
    assert_eq!(database.value(ROWS), "2");
}

#[test]
fn an_unacknowledged_packet_id_names_the_same_message_after_a_reconnect() {
    let (peer, database, daemon) = scripted();
    let lock = deliver_and_cut(peer.welcome(false), &database);
    let mut caller = peer.welcome(true);
    caller.send(&publish(0x3a, 1, &[], b"{}"));
    drop(lock);
    caller.expect_answer(PUBACK, 1);
    assert_eq!(database.value(ROWS), "1");
    daemon.wait_metric("sluice_messages_total{result=\"duplicate\"}", 1.0);
}

#[test]
fn a_packet_id_means_nothing_after_a_connection_without_a_read() {
    let (peer, database, _daemon) = scripted();
    let lock = deliver_and_cut(peer.welcome(false), &database);
    drop(lock);
    database.wait_until(ROWS, "1");
    // A broker that came back with an older state may deal 1 again here.
    peer.accept().expect(CONNECT);
    repeat(&mut peer.welcome(true));
    assert_eq!(database.value(ROWS), "2");
}

#[test]
fn an_identifier_of_a_lost_session_stands_for_nothing() {
    let (peer, database, _daemon) = scripted();
    let lock = deliver_and_cut(peer.welcome(false), &database);
    drop(lock);
    database.wait_until(ROWS, "1");
    repeat(&mut peer.welcome(false));
    assert_eq!(database.value(ROWS), "2");
}
