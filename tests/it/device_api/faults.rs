//! Requests while Postgres or the broker is away.

use std::time::{Duration, Instant};

use super::requester::{Request, Requester, Response};
use super::rig::{REGISTRY, builder};
use crate::faults::lock::Lock;
use crate::support::postgres::Postgres;
use crate::support::wait;

/// Its name, how it begins, and how it ends.
type Outage = (&'static str, fn(&Postgres), fn(&Postgres));

/// No answer may take longer, whatever happens to Postgres.
const LONGEST: Duration = Duration::from_secs(3);

fn timed(requester: &mut Requester, route: &str) -> (Response, Duration) {
    let asked_at = Instant::now();
    (requester.call(route, r#"{"id":1}"#), asked_at.elapsed())
}

#[test]
fn without_postgres_the_time_is_answered_and_the_rest_says_when_to_try_again() {
    let postgres = Postgres::private();
    let database = postgres.database();
    database.query(REGISTRY);
    let it = builder().on_database(&database).start_ready();
    it.daemon.wait_metric("sluice_api_connected", 1.0);
    let port = it.broker.port();
    let mut pump = Requester::connect(port, "acme/device/pump-1");
    // The registry's answer for the other one is never cached.
    let mut unknown = Requester::connect(port, "acme/device/pump-2");
    assert_eq!(pump.call("device", "").status(), 200);

    let outages: [Outage; 2] = [
        ("frozen", Postgres::pause, Postgres::resume),
        ("stopped", Postgres::stop, Postgres::start),
    ];
    for (name, begin, end) in outages {
        begin(&postgres);
        for requester in [&mut pump, &mut unknown] {
            for route in ["time", "shadow", "time", "device", "commands", "time"] {
                let (response, took) = timed(requester, route);
                println!("{name}: {route} {} after {took:?}", response.status());
                assert!(took < LONGEST, "{name}: {route} after {took:?}");
                let expected = if route == "time" { 200 } else { 503 };
                assert_eq!(response.status(), expected, "{name}: {response:?}");
                if expected == 503 {
                    assert!(response.json["retry_after"].as_u64().unwrap() >= 1, "{response:?}");
                }
            }
        }
        end(&postgres);
        wait::until("requests are answered again", || pump.call("device", "").status() == 200);
    }
}

#[test]
fn requests_that_wait_for_a_lock_leave_ingest_its_connections() {
    let stranger = "INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'stranger')";
    // As many as the requests below: all that ingest has, too.
    let it = builder()
        .registry(&format!("{REGISTRY}; {stranger}"))
        .set("PG_POOL_MAX", "4")
        .start_ready();
    it.daemon.wait_metric("sluice_api_connected", 1.0);
    let connect = |device| Requester::connect(it.broker.port(), device);
    let mut pumps = ["acme/device/pump-1", "acme/device/pump-2"].map(connect);
    for pump in &mut pumps {
        assert_eq!(pump.call("device", "").status(), 200);
    }
    let mut uncached = connect("acme/device/stranger");
    let lock = Lock::against_readers(&it.database, "device_shadows");
    for pump in [0, 1, 0, 1] {
        let request = pumps[pump].request("shadow", "");
        pumps[pump].start(&request);
    }
    for pump in [0, 1, 0, 1] {
        let response = pumps[pump].response();
        assert_eq!(response.status(), 503, "{response:?}");
        assert!(response.json["retry_after"].as_u64().unwrap() >= 1, "{response:?}");
    }
    // The lock lasts; a statement that waits for it without a limit of its own ends after ten seconds.
    let telemetry = "tenant/acme/device/stranger/telemetry";
    uncached.start(&Request::to(telemetry, r#"{"metrics":{"a":1}}"#));
    wait::within(Duration::from_secs(6), "the message is stored", || {
        let stored = it.daemon.metric("sluice_messages_total{result=\"stored\"}");
        if stored < 0.5 { Err("it is not".to_owned()) } else { Ok(()) }
    });
    drop(lock);
    wait::until("the rest is answered again", || pumps[0].call("shadow", "").status() == 200);
}

#[test]
fn requests_are_answered_after_the_broker_was_killed() {
    let it = super::rig::start(&[]);
    let mut pump = Requester::connect(it.broker.port(), "acme/device/pump-1");
    assert_eq!(pump.call("time", "").status(), 200);
    it.broker.kill9();
    it.daemon.wait_unready();
    it.broker.start_again();
    it.daemon.wait_metric("sluice_api_connected", 1.0);
    let mut pump = Requester::connect(it.broker.port(), "acme/device/pump-1");
    assert_eq!(pump.call("device", "").status(), 200);
}
