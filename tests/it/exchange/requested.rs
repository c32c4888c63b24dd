//! Requests: each arrives whatever its QoS, with its properties; none that was retained before ever
//! does.

use std::time::Duration;

use super::exchange_harness::{ExchangeHarness, mosquitto_pub, of_devices};
use crate::broker::session_harness::config;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::wait;
use sluice::config::sections::broker::BrokerConfig;

const TIME: &str = "tenant/acme/device/p1/request/time";

#[test]
fn requests_of_each_qos_arrive_with_their_properties() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let mut exchange = ExchangeHarness::start_well(&config(broker.port()), of_devices());
    for qos in ["0", "1", "2"] {
        mosquitto_pub(broker.port(), &["-q", qos, "-t", TIME, "-m", qos]);
        let request = exchange.next();
        assert_eq!((&request.topic[..], &request.payload[..]), (TIME.as_bytes(), qos.as_bytes()));
        assert_eq!((request.response_topic, request.correlation), (None, None));
        assert_eq!((request.expires_in, request.is_retained), (None, false));
    }
    let properties = "-D publish response-topic tenant/acme/device/p1/response/9 \
        -D publish correlation-data abc -D publish message-expiry-interval 60 \
        -D publish content-type application/json -D publish user-property a b";
    let mut arguments: Vec<&str> = properties.split_whitespace().collect();
    arguments.extend(["-q", "1", "-t", TIME, "-m", "{}"]);
    mosquitto_pub(broker.port(), &arguments);
    let request = exchange.next();
    assert_eq!(request.response_topic.as_deref(), Some(&b"tenant/acme/device/p1/response/9"[..]));
    assert_eq!(request.correlation.as_deref(), Some(&b"abc"[..]));
    let left = request.expires_in.unwrap();
    assert!(left > Duration::from_secs(50) && left <= Duration::from_mins(1), "{left:?}");
    // Larger than what is kept: the head arrives, and the size.
    let large = "x".repeat(400_000);
    let file = broker.dir().write("large", &large);
    let file = file.to_str().unwrap();
    mosquitto_pub(broker.port(), &["-q", "1", "-t", TIME, "-f", file]);
    mosquitto_pub(broker.port(), &["-q", "1", "-t", TIME, "-m", "after"]);
    let request = exchange.next();
    assert_eq!((request.cut_from, request.payload.len()), (Some(400_000), 4096));
    assert_eq!(&exchange.next().payload[..], b"after");
    exchange.end();
}

#[test]
fn a_request_retained_before_never_arrives_and_one_retained_now_says_so() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    mosquitto_pub(broker.port(), &["-q", "1", "-r", "-t", TIME, "-m", "old"]);
    let alone = config(broker.port());
    let shared = BrokerConfig { share_group: Some("g".into()), ..config(broker.port()) };
    for settings in [&alone, &shared] {
        for _ in 0..5 {
            let mut exchange = ExchangeHarness::start_well(settings, of_devices());
            // Behind whatever the broker sends with the subscription.
            mosquitto_pub(broker.port(), &["-q", "1", "-t", TIME, "-m", "new"]);
            assert_eq!(&exchange.next().payload[..], b"new");
            exchange.end();
        }
        let mut exchange = ExchangeHarness::start_well(settings, of_devices());
        mosquitto_pub(broker.port(), &["-q", "1", "-r", "-t", TIME, "-m", "kept"]);
        let request = exchange.next();
        assert_eq!((&request.payload[..], request.is_retained), (&b"kept"[..], true));
        exchange.end();
    }
}

#[test]
fn members_of_a_share_group_receive_each_request_once() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let member = || BrokerConfig { share_group: Some("g".into()), ..config(broker.port()) };
    let mut members = [
        ExchangeHarness::start_well(&member(), of_devices()),
        ExchangeHarness::start_well(&member(), of_devices()),
    ];
    for number in 0..20 {
        mosquitto_pub(broker.port(), &["-q", "1", "-t", TIME, "-m", &number.to_string()]);
    }
    let mut seen = Vec::new();
    wait::until("each request has arrived", || {
        for member in &mut members {
            while let Ok(request) = member.requests.try_recv() {
                seen.push(String::from_utf8(request.payload.to_vec()).unwrap());
            }
        }
        seen.len() >= 20
    });
    seen.sort_unstable_by_key(|number| number.parse::<u32>().unwrap());
    assert_eq!(seen, (0..20).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn what_finds_no_room_is_dropped_and_counted_and_blocks_nothing() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let mut exchange = ExchangeHarness::with_queue(&config(broker.port()), of_devices(), 3);
    exchange.wait_until_well();
    for number in 0..10 {
        mosquitto_pub(broker.port(), &["-q", "1", "-t", TIME, "-m", &number.to_string()]);
    }
    let overflowed = exchange.metrics.exchange.overflowed.clone();
    wait::until("seven are dropped", || overflowed.get() == 7);
    for number in ["0", "1", "2"] {
        assert_eq!(&exchange.next().payload[..], number.as_bytes());
    }
    mosquitto_pub(broker.port(), &["-q", "1", "-t", TIME, "-m", "later"]);
    assert_eq!(&exchange.next().payload[..], b"later");
    assert_eq!((exchange.reconnects(), overflowed.get()), (0, 7));
}
