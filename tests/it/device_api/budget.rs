//! The budget of each device: a flood of one costs the others nothing.

use std::time::{Duration, Instant};

use super::requester::Requester;
use super::rig;
use crate::faults::lock::Lock;
use crate::support::wait;

const LIMITS: [(&str, &str); 2] = [("DEVICE_API_RPS", "1"), ("DEVICE_API_BURST", "10")];

/// How long the flood lasts.
const FLOOD: Duration = Duration::from_secs(4);

#[test]
fn a_device_gets_a_burst_then_a_refusal_a_second_and_then_silence() {
    let it = rig::start(&LIMITS);
    let mut pump = Requester::connect(it.broker.port(), "acme/device/pump-1");
    let started_at = Instant::now();
    let request = pump.request("time", r#"{"id":"r"}"#);
    (0..200).for_each(|_| pump.start(&request));
    let mut statuses = Vec::new();
    while let Some(response) = pump.response_within(Duration::from_secs(1)) {
        if response.status() == 429 {
            assert_eq!(response.json["id"], "r");
            assert!(response.json["retry_after"].as_u64().unwrap() >= 1, "{response:?}");
        }
        statuses.push(response.status());
    }
    // On a busy machine the requests may arrive over more than a second.
    let seconds = usize::try_from(started_at.elapsed().as_secs()).unwrap();
    let count = |status| statuses.iter().filter(|&&got| got == status).count();
    assert!((10..=10 + seconds).contains(&count(200)), "{statuses:?} in {seconds} s");
    assert!((1..=1 + seconds).contains(&count(429)), "{statuses:?} in {seconds} s");
    let answered = f64::from(u32::try_from(statuses.len()).unwrap());
    it.daemon.wait_metric("sluice_api_requests_dropped_total{why=\"budget\"}", 200.0 - answered);
    assert_eq!(pump.call("time", "").status(), 200, "the rate is earned again");
}

#[test]
fn a_flood_of_one_device_does_not_delay_another() {
    let it = rig::start(&LIMITS);
    let port = it.broker.port();
    let flood = std::thread::spawn(move || {
        let mut loud = Requester::connect(port, "acme/device/pump-2");
        let request = loud.request("device", "");
        let (started_at, mut sent, mut got) = (Instant::now(), 0_u32, 0_u32);
        while started_at.elapsed() < FLOOD {
            // Bursts of 50 every 10 ms: 5,000 a second.
            (0..50).for_each(|_| loud.start(&request));
            sent += 50;
            while loud.response_within(Duration::from_millis(10)).is_some() {
                got += 1;
            }
        }
        (sent, got, started_at.elapsed().as_secs_f64())
    });
    let mut calm = Requester::connect(port, "acme/device/pump-1");
    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(300));
        let asked_at = Instant::now();
        assert_eq!(calm.call("device", "").status(), 200);
        slowest = slowest.max(asked_at.elapsed());
    }
    let (sent, got, seconds) = flood.join().unwrap();
    println!("{sent} requests in {seconds:.1} s, {got} responses; the other's slowest {slowest:?}");
    assert!(sent > 2_000, "the flood was none: {sent}");
    // The burst, then one answer and one refusal a second.
    assert!(f64::from(got) <= 11.0 + 2.0 * (seconds + 1.0), "{got} in {seconds} s");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

#[test]
fn a_request_that_expires_before_its_turn_is_dropped() {
    let it = rig::start(&[]);
    let mut pump = Requester::connect(it.broker.port(), "acme/device/pump-1");
    assert_eq!(pump.call("device", "").status(), 200);
    let dropped = "sluice_api_requests_dropped_total{why=\"expired\"}";
    // On a busy machine the third request may arrive so late that it is not expired at its turn.
    for _ in 0..20 {
        // Two requests of the device wait for the table; the third waits for its turn.
        let lock = Lock::against_readers(&it.database, "device_certificates");
        let slow = pump.request("device", r#"{"id":"slow"}"#);
        let brief = pump.request("device", r#"{"id":"brief"}"#).expiring(1);
        for request in [&slow, &slow, &brief] {
            pump.start(request);
        }
        let (mut slow_ones, mut is_answered, began) = (0, false, Instant::now());
        while slow_ones < 2 || (!is_answered && it.daemon.metric(dropped) < 1.0) {
            assert!(began.elapsed() < Duration::from_mins(1), "{slow_ones} answers");
            let Some(response) = pump.response_within(Duration::from_millis(100)) else { continue };
            assert_eq!(response.status(), 503, "{response:?}");
            if response.json["id"] == "brief" {
                is_answered = true;
            } else {
                assert_eq!(response.json["retry_after"], 2);
                slow_ones += 1;
            }
        }
        drop(lock);
        if !is_answered {
            break;
        }
        wait::until("the table is read again", || pump.call("device", "").status() == 200);
    }
    assert!(it.daemon.metric(dropped) >= 1.0);
    assert!(pump.response_within(Duration::from_millis(300)).is_none());
}
