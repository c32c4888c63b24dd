//! Two replicas that share the requests: one is killed, the other freezes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::requester::Requester;
use super::rig::{REGISTRY, builder};

/// Between two new requests.
const PERIOD: Duration = Duration::from_millis(20);

/// After this time the device sends a request again.
const RETRY: Duration = Duration::from_secs(2);

/// Each request is answered within this time.
const LONGEST: Duration = Duration::from_secs(15);

/// How long a replica is frozen: longer than the broker needs to notice.
const FROZEN: Duration = Duration::from_secs(12);

/// A request without an answer.
struct Open {
    first_sent: Instant,
    last_sent: Instant,
}

/// Sends requests all the time, and again without an answer, until `is_done` says so; then only until
/// each is answered. Returns the longest wait.
fn ask_steadily(pump: &mut Requester, mut is_done: impl FnMut() -> bool) -> (usize, Duration) {
    let (mut open, mut next, mut longest) = (BTreeMap::<u64, Open>::new(), 0, Duration::ZERO);
    let mut is_asking = true;
    loop {
        is_asking = is_asking && !is_done();
        if is_asking {
            let now = Instant::now();
            pump.start(&pump.request("time", format!(r#"{{"id":{next}}}"#)));
            open.insert(next, Open { first_sent: now, last_sent: now });
            next += 1;
        } else if open.is_empty() {
            return (usize::try_from(next).unwrap(), longest);
        }
        for (id, request) in &mut open {
            assert!(request.first_sent.elapsed() < LONGEST, "request {id} has no answer");
            if request.last_sent.elapsed() >= RETRY {
                request.last_sent = Instant::now();
                pump.start(&pump.request("time", format!(r#"{{"id":{id}}}"#)));
            }
        }
        let until = Instant::now() + PERIOD;
        while let Some(response) = pump.response_within(until.duration_since(Instant::now())) {
            assert_eq!(response.status(), 200, "{response:?}");
            if let Some(request) = open.remove(&response.json["id"].as_u64().unwrap()) {
                longest = longest.max(request.first_sent.elapsed());
            }
        }
    }
}

#[test]
fn each_request_is_answered_while_one_replica_is_killed_and_the_other_freezes() {
    let it = builder().registry(REGISTRY).set("MQTT_SHARE_GROUP", "pair").start_ready();
    let other = it.settings.clone().set("MQTT_CLIENT_ID", "sluice-other");
    let other = other
        .set("OPS_BIND", &format!("127.0.0.1:{}", crate::support::port::free()))
        .set("HTTP_BIND", &format!("127.0.0.1:{}", crate::support::port::free()))
        .set("HOOKS_BIND", &format!("127.0.0.1:{}", crate::support::port::free()));
    let other = other.start();
    let mut pump = Requester::connect(it.broker.port(), "acme/device/pump-1");
    let started_at = Instant::now();
    let (mut is_killed, mut is_frozen) = (false, false);
    let (asked, longest) = ask_steadily(&mut pump, || {
        let elapsed = started_at.elapsed();
        if !is_killed && elapsed > Duration::from_secs(2) {
            it.daemon.kill9();
            it.daemon.start_again();
            is_killed = true;
        }
        if !is_frozen && elapsed > Duration::from_secs(4) {
            other.signal("STOP");
            is_frozen = true;
        }
        elapsed > FROZEN + Duration::from_secs(4)
    });
    other.signal("CONT");
    println!("{asked} requests, the longest wait {longest:?}");
    assert!(asked > 100, "{asked}");
}
