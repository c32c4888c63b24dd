//! The live tail with a real broker: who sees which decisions, how streams are bounded, and when they
//! end.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::TcpSocket;

use super::browser::Browser;
use super::live_stream::LiveStream;
use crate::api::client::{Answer, TOKEN, ask, builder};
use crate::support::database::Database;
use crate::support::device::{Device, Message};
use crate::support::mosquitto::Mosquitto;
use crate::support::postgres::Postgres;
use crate::support::test_daemon::TestDaemon;
use crate::support::wait;

const VIEWER: &str = "sluice_op_1111111111111111111111111111111111111111111111111111111111111111";
const OF_ZETA: &str = "sluice_op_2222222222222222222222222222222222222222222222222222222222222222";

const REGISTRY: &str = "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme'), ('zeta', 'Zeta');
    INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'pump-1'), ('acme', 'pump-2'), ('zeta', 'meter-1')";

const HOSTILE: &str =
    r#"{"metrics":{"t":1},"note":"\"><img src=x onerror=alert(1)>","provision_token":"s3cret"}"#;

fn people() -> String {
    format!(
        "{REGISTRY}; INSERT INTO operators (name, role, tenant_id, token_sha256)
         VALUES ('eve', 'viewer', NULL, sha256('{VIEWER}')), ('zoe', 'operator', 'zeta', sha256('{OF_ZETA}'))"
    )
}

fn daemon() -> TestDaemon<Mosquitto, Database<'static>> {
    builder().broker().registry(&people()).set("REQUIRE_TOKEN", "0").start_ready()
}

fn topic(sender: &str) -> String {
    let (tenant, device) = sender.split_once('/').unwrap();
    format!("tenant/{tenant}/device/{device}/telemetry")
}

fn refused(port: u16, path: &str, token: &str) -> Answer {
    let headers = format!("Host: localhost\r\nAuthorization: Bearer {token}\r\n");
    ask(port, "GET", &format!("/api/v1/live{path}"), &headers, b"")
}

fn formatted(it: &TestDaemon<Mosquitto, Database<'static>>) -> f64 {
    it.daemon.metric("sluice_live_lines_formatted_total")
}

#[test]
fn a_listener_gets_what_its_search_its_tenant_and_its_role_permit() {
    let it = daemon();
    let port = it.listening("HTTP_BIND");
    let mut device = Device::connect(it.broker.port(), "d");
    device.publish(&topic("acme/pump-1"), r#"{"metrics":{"t":0}}"#);
    it.daemon.wait_metric("sluice_messages_total{result=\"stored\"}", 1.0);
    assert!(formatted(&it).abs() < 0.5, "nobody listened");

    let [mut all, mut of_refused, mut of_pumps] =
        ["", "outcome:refused", "pump-* -pump-2 type:telemetry"]
            .map(|search| LiveStream::open(port, search, TOKEN));
    let mut viewer = LiveStream::open(port, "tenant:acme", VIEWER);
    let [mut zoe, mut nothing] =
        ["", "tenant:acme"].map(|search| LiveStream::open(port, search, OF_ZETA));
    assert!((it.daemon.metric("sluice_live_listeners") - 6.0).abs() < 0.5);
    for (sender, payload) in [
        ("acme/pump-2", HOSTILE),
        ("acme/pump-9", r#"{"metrics":{"t":2}}"#),
        ("zeta/meter-1", r#"{"metrics":{"t":3}}"#),
        ("acme/pump-1", r#"{"metrics":{"t":4}}"#),
    ] {
        device.publish(&topic(sender), payload);
    }
    let first = all.decision();
    assert_eq!((&first["outcome"], &first["device_id"]), (&"accepted".into(), &"pump-2".into()));
    assert_eq!(first["bytes"], HOSTILE.len());
    let payload = first["payload"].as_str().unwrap();
    assert!(payload.contains("<img src=x") && payload.contains("[redacted]"), "{payload}");
    let reason = |line: &Value| line["reason"].as_str().map(str::to_owned);
    let rest: Vec<_> = (0..3).map(|_| all.decision()).collect();
    let expected = [Some("UNREGISTERED_DEVICE".to_owned()), None, None];
    assert_eq!(rest.iter().map(reason).collect::<Vec<_>>(), expected);
    assert_eq!(of_refused.decision()["device_id"], "pump-9");
    // Between pump-1 and the bound operator's meter-1 nothing else came.
    assert_eq!(
        [of_pumps.decision(), of_pumps.decision()].map(|line| line["device_id"].clone()),
        ["pump-9", "pump-1"]
    );
    let own = zoe.decision();
    assert_eq!((&own["tenant_id"], own["payload"].is_null()), (&"zeta".into(), false));
    let seen = viewer.decision();
    assert!(seen["payload"].is_null() && seen["device_id"] == "pump-2", "{seen}");
    assert_eq!(nothing.event("heartbeat")["matched"], 0, "another tenant's decisions");

    refused(port, "?search=colour:red", TOKEN).problem(400, "bad-request");
    let detail = refused(port, "?search=outcome:stored", TOKEN).json().to_string();
    assert!(detail.contains("accepted, refused, duplicate, ignored"), "{detail}");
    refused(port, "?tenant=acme", OF_ZETA).problem(403, "forbidden");
    refused(port, "", "sluice_op_3").problem(401, "unauthorized");
    let audited =
        "SELECT string_agg(actor || ' ' || (detail->>'search'), ',' ORDER BY id) FROM audit_log
        WHERE action = 'live.open' AND actor <> 'api'";
    assert_eq!(it.database.value(audited), "api:eve tenant:acme,api:zoe ,api:zoe tenant:acme");

    drop((all, of_refused, of_pumps, viewer, zoe, nothing));
    wait::until("no listener is left", || it.daemon.metric("sluice_live_listeners").abs() < 0.5);
    let before = formatted(&it);
    device.publish(&topic("acme/pump-1"), r#"{"metrics":{"t":5}}"#);
    it.daemon.wait_metric("sluice_messages_total{result=\"stored\"}", 5.0);
    assert!((formatted(&it) - before).abs() < 0.5, "a line for nobody");
}

#[test]
fn streams_are_bounded_hold_no_permit_and_end_with_their_session_and_the_daemon() {
    let it = daemon();
    let port = it.listening("HTTP_BIND");
    let eve = Browser::signed_in(port, VIEWER);
    let cookie = eve.cookie("sluice_session").unwrap();
    let by_cookie = format!("Cookie: sluice_session={cookie}\r\nSec-Fetch-Site: same-origin\r\n");
    let mut of_eve = LiveStream::request(port, "", &by_cookie);
    let mut of_zoe = LiveStream::open(port, "", OF_ZETA);
    let mut others: Vec<_> = (0..14).map(|_| LiveStream::open(port, "", TOKEN)).collect();
    let full = refused(port, "", TOKEN).detail(503, "unavailable");
    assert!(full.contains("16 streams of decisions are open"), "{full}");
    assert!((it.daemon.metric("sluice_live_listeners_refused_total") - 1.0).abs() < 0.5);
    // Streams take neither permits nor the last connections.
    let begun = Instant::now();
    for _ in 0..10 {
        refused(port, "/recent", TOKEN).ok(200);
        eve.api("GET", "/overview", None).ok(200);
        eve.get("/console").page();
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    drop(others.pop());
    wait::until("a place is free", || it.daemon.metric("sluice_live_listeners") < 15.5);
    others.push(LiveStream::open(port, "", TOKEN));

    // What ends the session or the token of a person ends the stream.
    assert_eq!(eve.post("/console/logout", &[]).status, 303);
    it.settings.run(&["operator", "set-role", "zoe", "--role", "viewer"]);
    assert_eq!(of_eve.event("end")["reason"], "access");
    let end = of_zoe.event("end");
    assert!(end["detail"].as_str().unwrap().contains("role or the tenant"), "{end}");
    assert!(of_eve.next().is_none() && of_zoe.next().is_none(), "the connection closes");

    let begun = Instant::now();
    assert_eq!(it.daemon.terminate(), 0);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    for stream in &mut others {
        assert_eq!(stream.event("end")["reason"], "stopping");
    }
}

#[test]
fn a_reader_that_does_not_read_is_cut_and_a_flood_is_sampled() {
    let it = daemon();
    let port = it.listening("HTTP_BIND");
    let mut quick = LiveStream::open(port, "", TOKEN);
    let reader = std::thread::spawn(move || {
        let sampling = quick.event("sampling");
        quick.event("heartbeat");
        (sampling, quick)
    });
    let slow = LiveStream::open(port, "", TOKEN);
    let handle = TcpSocket::from_std_stream(slow.socket().try_clone().unwrap());
    handle.set_recv_buffer_size(4 * 1024).unwrap();
    let mut device = Device::connect(it.broker.port(), "d");
    let wide = "\u{1}".repeat(240);
    let burst: Vec<_> = (0..200).map(|_| Message::new(topic("acme/pump-1"), &wide)).collect();
    let timed_out = "sluice_http_connections_timed_out_total{listener=\"api\"}";
    wait::until("the slow reader is cut", || {
        device.publish_all(&burst);
        let is_cut = it.daemon.metric(timed_out) > 0.5;
        is_cut && it.daemon.metric("sluice_live_listeners") < 1.5
    });
    // The other reader was not harmed, and an event says what it does not see.
    let (sampling, _quick) = reader.join().unwrap();
    assert!(sampling["one_in"].as_u64().unwrap() > 1, "{sampling}");
    assert!(sampling["shown"].as_u64().unwrap() <= 40, "{sampling}");
    let received = it.daemon.metric("sluice_messages_total{result=\"quarantined\"}");
    assert!(formatted(&it) < received / 2.0, "{} of {received}", formatted(&it));
    it.daemon.wait_ready();
}

#[test]
fn while_postgres_is_away_a_stream_says_why_few_decisions_come() {
    let postgres = Postgres::private();
    let database = postgres.database();
    database.query(&people());
    let it = builder().broker().on_database(&database).set("REQUIRE_TOKEN", "0").start_ready();
    let port = it.listening("HTTP_BIND");
    let mut stream = LiveStream::open(port, "", TOKEN);
    let mut device = Device::connect(it.broker.port(), "d");
    device.publish(&topic("acme/pump-1"), r#"{"metrics":{"t":0}}"#);
    assert_eq!(stream.decision()["outcome"], "accepted");
    postgres.stop();
    device.publish(&topic("acme/pump-1"), r#"{"metrics":{"t":1}}"#);
    // Without the registry, Sluice decides nothing: the stream says why.
    let troubles = stream.event("troubles")["troubles"].to_string();
    assert!(troubles.contains("Postgres") || troubles.contains("connection"), "{troubles}");
    let recent = refused(port, "/recent", TOKEN);
    assert!(recent.status == 200 || recent.status == 503, "{}", recent.text());
    postgres.start();
    assert_eq!(stream.decision()["payload"], r#"{"metrics":{"t":1}}"#, "it was not lost");
    it.daemon.wait_ready();
    device.publish(&topic("acme/pump-1"), r#"{"metrics":{"t":2}}"#);
    assert_eq!(stream.decision()["payload"], r#"{"metrics":{"t":2}}"#);
}

#[test]
fn the_page_lists_recent_decisions_without_a_script() {
    let it = daemon();
    let port = it.listening("HTTP_BIND");
    let admin = Browser::signed_in(port, TOKEN);
    let page = admin.get("/console/live").page();
    for text in [
        "No decision yet",
        "data-stream=\"/api/v1/live\"",
        "console.live.js",
        "aria-current=\"page\">Live</a>",
        "sluice tail",
        "before the commit",
    ] {
        assert!(page.contains(text), "{text} is missing from\n{page}");
    }
    let eve = Browser::signed_in(port, VIEWER);
    let refusals = "/console/live?search=outcome%3Arefused+tenant%3Aacme";
    for (browser, path) in [(&admin, refusals), (&eve, "/console/live")] {
        assert!(browser.get(path).page().contains("No decision yet"));
    }
    let mut device = Device::connect(it.broker.port(), "d");
    device.publish(&topic("acme/pump-1"), HOSTILE);
    device.publish(&topic("acme/pump-9"), r#"{"metrics":{"t":2}}"#);
    let page = wait::for_some("the decisions", || {
        let page = admin.get("/console/live").page();
        page.contains("acme/pump-9").then_some(page)
    });
    assert!(page.contains("acme/pump-1</a>") && page.contains("onerror=alert(1)"), "{page}");
    assert!(!page.contains("<img") && !page.contains("s3cret"), "{page}");
    assert!(page.len() < 40_000, "{} bytes", page.len());
    let only = admin.get(refusals).page();
    assert!(only.contains("UNREGISTERED_DEVICE") && !only.contains("acme/pump-1</a>"), "{only}");
    let href =
        "/console/quarantine?search=reason%3AUNREGISTERED_DEVICE+tenant%3Aacme+device%3Apump-9";
    assert!(only.contains(href), "{only}");
    let masked = eve.get("/console/live").page();
    assert!(masked.contains("acme/pump-1</a>") && !masked.contains("onerror"), "{masked}");
    let fault = admin.get("/console/live?search=colour%3Ared").page();
    assert!(fault.contains("unknown key `colour`; the keys are tenant, device, type"), "{fault}");
    assert!(!fault.contains("data-stream"), "no stream of a search that cannot be read");
}
