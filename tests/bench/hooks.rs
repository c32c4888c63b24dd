//! The broker's questions: asked as its plugin does, one after the other on connections that stay
//! open, at a fixed rate.
//!
//! Half of them are about devices by certificate, half about holders of tokens; each is answered
//! with a yes, and any other answer counts as wrong. What is measured is how long the broker would
//! have stood still: from a question to its answer.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use crate::measure::Round;
use crate::plan::SMALL;
use crate::processes::{cpu, peak_mib};
use crate::report::quantiles;
use crate::stage::{Outcome, Stage};

/// Questions a second, over all connections.
pub const RATE: u64 = 5_000;

/// Holders of tokens.
const PEOPLE: u64 = 500;

/// Rules of the policy; the last but one is the one that allows.
const RULES: usize = 100;

/// Tenants of the bench's fleet, whose devices are dealt out to them in turn.
const TENANTS: u64 = 20;

const ISSUER: &str = "https://id.example.org";

type Settings = Vec<(&'static str, String)>;

const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Sends requests for `seconds` over `connections`.
pub fn round(stage: &Stage, connections: u64, seconds: u64) -> Outcome<Round> {
    let (requests, settings) = prepare(stage)?;
    let settings: Vec<(&str, &str)> =
        settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let daemon = stage.daemon("bench-hooks", &settings)?;
    let address = settings.iter().find(|(name, _)| *name == "HOOKS_BIND").ok_or("no address")?.1;
    // Every device and every token has been seen before.
    ask(address, &requests, None)?;
    let before = cpu(daemon.process.id());
    let begun = Instant::now();
    let askers: Vec<_> = (0..connections)
        .map(|number| {
            let (address, requests) = (address.to_owned(), requests.clone());
            let pace =
                Pace { every: Duration::from_micros(1_000_000 * connections / RATE), seconds };
            thread::spawn(move || {
                let own: Vec<String> =
                    requests.into_iter().skip(usize::try_from(number).unwrap_or(0) * 37).collect();
                ask(&address, &own, Some(pace)).map_err(|error| error.to_string())
            })
        })
        .collect();
    let (mut waits, mut wrong) = (Vec::new(), 0);
    for asker in askers {
        let asked = asker.join().map_err(|_| "an asker panicked")??;
        waits.extend(asked.waits);
        wrong += asked.wrong;
    }
    let (took, used) = (begun.elapsed(), cpu(daemon.process.id()) - before);
    let memory_mib = peak_mib(daemon.process.id());
    stage.dismiss(daemon)?;
    Ok(Round {
        rate: waits.len() as f64 / took.as_secs_f64(),
        own: used as f64 / waits.len() as f64,
        memory_mib,
        latency: Some(quantiles(waits)),
        wrong: f64::from(wrong),
        ..Round::default()
    })
}

/// How fast, for how long.
#[derive(Clone, Copy)]
struct Pace {
    every: Duration,
    seconds: u64,
}

struct Asked {
    waits: Vec<Duration>,
    wrong: u32,
}

/// Asks each in turn, without a pace each once.
fn ask(address: &str, requests: &[String], pace: Option<Pace>) -> Outcome<Asked> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_TIME))?;
    let mut stream = BufReader::new(stream);
    let mut asked = Asked { waits: Vec::new(), wrong: 0 };
    let begun = Instant::now();
    let mut due = begun;
    for request in requests.iter().cycle() {
        match pace {
            Some(pace) if begun.elapsed() >= Duration::from_secs(pace.seconds) => break,
            Some(pace) => {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                due += pace.every;
            }
            None if asked.waits.len() == requests.len() => break,
            None => {}
        }
        let sent = Instant::now();
        stream.get_mut().write_all(request.as_bytes())?;
        let is_yes = is_yes(&mut stream)?;
        asked.waits.push(sent.elapsed());
        asked.wrong += u32::from(!is_yes);
    }
    Ok(asked)
}

fn is_yes(stream: &mut BufReader<TcpStream>) -> Outcome<bool> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Err("the hooks closed the connection".into());
        }
    }
    let length = head
        .lines()
        .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.ok_or("an answer without a length")?];
    stream.read_exact(&mut body)?;
    Ok(head.starts_with("HTTP/1.1 200") && body == br#"{"ok":true}"#)
}

/// The questions, and the settings of a daemon that says yes to them.
fn prepare(stage: &Stage) -> Outcome<(Vec<String>, Settings)> {
    let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| "no key")?;
    let key = Ed25519KeyPair::from_pkcs8(key.as_ref()).map_err(|_| "no key")?;
    let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
    let keys = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "k1", "x": x }] });
    let (keys_file, rules_file) = (stage.out.join("keys.json"), stage.out.join("rules.json"));
    fs::write(&keys_file, keys.to_string())?;
    let rules: Vec<Value> = (0..RULES)
        .map(|number| {
            json!({ "subjects": { "groups": [format!("g{number}")] }, "topics": [format!("plant/{number}/+/#")],
            "actions": "*", "effect": if number + 1 == RULES { "deny" } else { "allow" } })
        })
        .collect();
    fs::write(&rules_file, json!({ "rules": rules }).to_string())?;
    let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let path = |file: std::path::PathBuf| file.into_os_string().into_string().map_err(|_| "a path");
    let settings = vec![
        ("HOOKS_BIND", free.to_string()),
        ("JWT_ISSUER", ISSUER.to_owned()),
        ("JWT_JWKS_PATH", path(keys_file)?),
        ("ACL_RULES_PATH", path(rules_file)?),
    ];
    let exp = an_hour_from_now()?;
    let people: Vec<String> = (0..PEOPLE).map(|number| token(&key, number, exp)).collect();
    let requests = (0..SMALL).map(|number| {
        let device = format!("sluice-sim-{:03}/device/d-{number:06}", number % TENANTS);
        let by_device = json!({ "acc": 2, "clientid": device, "topic": format!("tenant/{device}/telemetry"),
            "username": device });
        let person = &people[usize::try_from(number % PEOPLE).unwrap_or(0)];
        let topic = format!("plant/{}/x/{number}", RULES - 2);
        let by_person = json!({ "acc": 1, "clientid": format!("c{number}"), "topic": topic, "username": person });
        request(&if number % 2 == 0 { by_device } else { by_person })
    });
    Ok((requests.collect(), settings))
}

#[expect(clippy::disallowed_methods, reason = "the bench has no clock to be handed")]
fn an_hour_from_now() -> Outcome<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + 3600)
}

fn token(key: &Ed25519KeyPair, number: u64, exp: u64) -> String {
    let header = json!({ "alg": "EdDSA", "kid": "k1" });
    let claims = json!({ "iss": ISSUER, "sub": format!("person-{number}"), "exp": exp, "groups": [format!("g{}", RULES - 2)] });
    let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn request(body: &Value) -> String {
    let body = body.to_string();
    format!(
        "POST /mqtt/acl HTTP/1.1\r\nHost: 127.0.0.1:8009\r\nUser-Agent: mosquitto-2.0.11\r\nContent-Length: {}\r\n\
         Content-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n{body}",
        body.len()
    )
}
