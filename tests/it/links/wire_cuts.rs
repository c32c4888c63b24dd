//! One connection that is cut at every byte of its handshake, or stands still: each is an error in
//! bounded time.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use sluice::broker::error::BrokerError;
use sluice::broker::remote::facts::UpgradeFacts;
use sluice::broker::remote::target::{RemoteTarget, WebSocketRequest};
use sluice::config::secret::Secret;
use tokio::task::LocalSet;

use super::cloud::CloudBroker;
use super::wire::{message, next, open, opened, refused, run, target, transports};
use crate::support::proxy::{Direction, Proxy};

/// What a connect may take that stands still: 10 s for the way, 10 s for CONNACK, and what a busy machine
/// adds.
const STILL: Duration = Duration::from_secs(40);

/// Connections that are cut at the same time: each waits for the broker most of the time.
const CUTS_AT_ONCE: usize = 16;

/// Through this proxy instead.
fn through(proxy: &Proxy, target: &RemoteTarget) -> RemoteTarget {
    let mut target = target.clone();
    target.broker.port = proxy.port();
    target
}

#[test]
fn a_cut_at_every_byte_of_the_handshake_is_an_error() {
    let cloud = CloudBroker::open();
    for (name, target) in transports(&cloud) {
        for direction in [Direction::ToClient, Direction::ToServer] {
            let proxy = Proxy::to(target.broker.port);
            run(async { drop(opened(&through(&proxy, &target)).await) });
            let whole = proxy.carried(direction);
            // The length of a TLS handshake varies by a few bytes, and its last ones are session tickets
            // that the client does not wait for. Of TLS it is every ninth byte: a record has many that are alike.
            let (sure, step) =
                if target.broker.tls.is_some() { (whole * 3 / 4, 9) } else { (whole, 1) };
            run(LocalSet::new().run_until(async {
                let cuts: Vec<u64> = (0..sure).step_by(step).collect();
                let tasks: Vec<_> = cuts
                    .chunks(cuts.len().div_ceil(CUTS_AT_ONCE))
                    .map(|cuts| {
                        let (cuts, target) = (cuts.to_vec(), target.clone());
                        tokio::task::spawn_local(cut_at_each(name, target, direction, cuts))
                    })
                    .collect();
                for task in tasks {
                    task.await.unwrap();
                }
            }));
        }
    }
}

async fn cut_at_each(name: &str, target: RemoteTarget, direction: Direction, cuts: Vec<u64>) {
    let proxy = Proxy::to(target.broker.port);
    let target = through(&proxy, &target);
    for cut in cuts {
        proxy.cut_after(direction, cut);
        let began = Instant::now();
        let error = refused(&target).await;
        assert!(began.elapsed() < STILL, "{name}, {direction:?} cut at {cut}: {error}");
    }
}

#[test]
fn a_handshake_that_stands_still_ends_in_bounded_time() {
    let cloud = CloudBroker::open();
    let mut cases = Vec::new();
    for (name, target) in transports(&cloud) {
        let points: &[u64] = match name {
            "tcp" => &[0, 3],
            "ws" => &[0, 40],
            _ => &[0, 300, 900],
        };
        for &point in points {
            let proxy = Proxy::to(target.broker.port);
            proxy.darken_after(Direction::ToClient, point);
            let target = through(&proxy, &target);
            cases.push((format!("{name}, still at {point}"), proxy, target));
        }
    }
    let began = Instant::now();
    run(LocalSet::new().run_until(async {
        let tasks: Vec<_> = cases
            .into_iter()
            .map(|(name, proxy, target)| {
                tokio::task::spawn_local(async move {
                    let error = refused(&target).await;
                    drop(proxy);
                    (name, error)
                })
            })
            .collect();
        for task in tasks {
            let (name, error) = task.await.unwrap();
            let is_late =
                matches!(error, BrokerError::ConnectTimeout { .. } | BrokerError::NoAnswer { .. });
            assert!(is_late, "{name}: {error:?}");
        }
    }));
    assert!(began.elapsed() < STILL);
}

#[test]
fn a_broker_that_reads_nothing_ends_the_connection_in_bounded_time() {
    let cloud = CloudBroker::open();
    let [(_, tcp), _, _, (_, wss)] = transports(&cloud);
    run(LocalSet::new().run_until(async {
        let tasks = [tcp, wss].map(|target| {
            tokio::task::spawn_local(async move {
                let proxy = Proxy::to(target.broker.port);
                let mut connection = opened(&through(&proxy, &target)).await;
                proxy.darken();
                for _ in 0..20 {
                    connection.publish(&message("a", vec![b'x'; 1_000_000])).unwrap();
                }
                let began = Instant::now();
                let error = next(&mut connection).await.expect_err("no answer can come");
                assert!(matches!(error, BrokerError::WriteStalled { .. }), "{error:?}");
                assert!(began.elapsed() < STILL);
            })
        });
        for task in tasks {
            task.await.unwrap();
        }
    }));
}

/// A server that reads the request for a websocket and answers with these parts; then it waits for the
/// client to close. What it read is the thread's result.
fn upgrade(parts: Vec<Vec<u8>>) -> (RemoteTarget, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut target = target(listener.local_addr().unwrap().port());
    target.websocket = Some(WebSocketRequest {
        path_and_query: Secret::new(format!("/mqtt?X-Amz-Signature={SIGNATURE}")),
        host: "signed.example".to_owned(),
    });
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        for part in parts {
            stream.write_all(&part).unwrap();
            thread::sleep(Duration::from_millis(20));
        }
        let _the_client_closes: std::io::Result<usize> = until_closed(&mut stream);
        String::from_utf8(request).unwrap()
    });
    (target, server)
}

fn until_closed(stream: &mut TcpStream) -> std::io::Result<usize> {
    stream.read_to_end(&mut Vec::new())
}

/// What no error may hold.
const SIGNATURE: &str = "5ec2e75ec2e75ec2e75ec2e7";

#[test]
fn a_refused_upgrade_keeps_its_status_type_message_and_clock_and_no_secret() {
    let aws = "HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\ncontent-length: 41\r\n\
        date: Sat, 28 Nov 2026 12:00:00 GMT\r\nx-amzn-errortype: ForbiddenException:http://x\r\n\r\n";
    let (target, server) = upgrade(vec![
        aws.as_bytes()[..30].to_vec(),
        aws.as_bytes()[30..].to_vec(),
        br#"{"message":"Forbidden","#.to_vec(),
        br#""traceId":"12345"}"#.to_vec(),
    ]);
    let (refused, facts) = run(open(&target));
    let error = refused.err().unwrap();
    let text = error.to_string();
    assert!(text.contains("403 (ForbiddenException): \"Forbidden\""), "{text}");
    let seen = UpgradeFacts {
        status: 403,
        error_type: Some("ForbiddenException".to_owned()),
        message: Some("Forbidden".to_owned()),
        date: Some("Sat, 28 Nov 2026 12:00:00 GMT".to_owned()),
    };
    assert_eq!(facts.upgrade, Some(seen));
    let request = server.join().unwrap();
    let start =
        format!("GET /mqtt?X-Amz-Signature={SIGNATURE} HTTP/1.1\r\nHost: signed.example\r\n");
    assert!(request.starts_with(&start), "{request}");
    assert!(request.contains("Sec-WebSocket-Protocol: mqtt\r\n"), "{request}");

    let echo = format!("HTTP/1.1 400 Bad Request\r\n\r\nbad signature {SIGNATURE}");
    let (target, _server) = upgrade(vec![echo.into_bytes()]);
    let (refused, facts) = run(open(&target));
    let seen = format!("{refused:?}{facts:?}{target:?}", refused = refused.err());
    assert!(seen.contains("status: 400") && !seen.contains(SIGNATURE), "{seen}");
}

#[test]
fn an_answer_that_is_no_websocket_is_an_error_that_says_why() {
    let switch =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(20_000));
    for (answer, words) in [
        (format!("{switch}Sec-WebSocket-Accept: AAAA\r\n\r\n"), "Sec-WebSocket-Accept"),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n".to_owned(), "switch"),
        ("\x20\x03\0\0\0 not HTTP at all\r\n\r\n".to_owned(), "HTTP/1.1"),
        (endless, "16 KiB"),
        // A body that never comes, and a redirect: neither holds anything up.
        ("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 900\r\n\r\n".to_owned(), "426"),
        ("HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n".to_owned(), "302"),
    ] {
        let (target, _server) = upgrade(vec![answer.into_bytes()]);
        let began = Instant::now();
        let error = run(refused(&target)).to_string();
        assert!(error.contains(words), "{error}");
        assert!(began.elapsed() < STILL);
    }
}
