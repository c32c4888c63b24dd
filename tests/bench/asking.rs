//! Devices that ask and receive: requests at a fixed rate, and commands that plain SQL queues.
//!
//! Each connection waits for one response at a time, as a device does, and sends without Nagle's
//! delay.

use std::collections::HashMap;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::measure::Round;
use crate::mqtt::{Hello, Subscriber, acknowledge};
use crate::processes::{cpu, peak_mib};
use crate::report::quantiles;
use crate::stage::{Daemon, Outcome, Stage};

/// The settings of a daemon whose API is open; the bench asks more often than devices may.
pub const OPEN: [(&str, &str); 4] = [
    ("DEVICE_API", "1"),
    ("DEVICE_API_RPS", "1000"),
    ("DEVICE_API_BURST", "10000"),
    ("DEVICE_ERRORS", "1"),
];

/// Requests a second, and the connections that share them.
const RATE: u64 = 200;
const CONNECTIONS: u64 = 8;

/// Command rows a second.
const ROWS: u64 = 50;

/// Requests that wait for their responses when every device asks once.
const AT_ONCE: u64 = 64;

/// Tenants of the bench's fleet, whose devices are dealt out to them in turn.
const TENANTS: u64 = 20;

/// A response or command that has not come by then is missing.
const PATIENCE: Duration = Duration::from_secs(10);

/// Requests for the time at [`RATE`] for so many seconds.
pub fn requests(stage: &Stage, seconds: u64) -> Outcome<Round> {
    let daemon = stage.daemon("bench-asked", &OPEN)?;
    let before = cpu(daemon.process.id());
    let (begun, port) = (Instant::now(), stage.mqtt_port);
    let askers: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            thread::spawn(move || {
                ask(port, number, begun, seconds).map_err(|error| error.to_string())
            })
        })
        .collect();
    let (mut waits, mut wrong) = (Vec::new(), 0.0);
    for asker in askers {
        let (own, failed) = asker.join().map_err(|_| "an asker panicked")??;
        waits.extend(own);
        wrong += failed;
    }
    conclude(stage, daemon, before, begun, waits, wrong)
}

/// Asks in turn for each of its devices; the waits, and how many responses were wrong.
fn ask(port: u16, number: u64, begun: Instant, seconds: u64) -> Outcome<(Vec<Duration>, f64)> {
    let name = format!("bench-asks-{number}");
    let mut client =
        connect(port, &name, &format!("tenant/+/device/{}/response/#", device(number)))?;
    let every = Duration::from_micros(1_000_000 * CONNECTIONS / RATE);
    let (mut waits, mut wrong) = (Vec::new(), 0.0);
    let topic = format!("{}/request/time", own_topics(number));
    let mut due = begun + every / u32::try_from(CONNECTIONS)? * u32::try_from(number)?;
    for id in 1.. {
        if begun.elapsed() >= Duration::from_secs(seconds) {
            break;
        }
        thread::sleep(due.saturating_duration_since(Instant::now()));
        due += every;
        let sent = Instant::now();
        client.publish(&topic, format!("{{\"id\":{id}}}").as_bytes(), packet_id(id))?;
        let is_right = responds(&mut client, id)?;
        waits.push(sent.elapsed());
        wrong += f64::from(u8::from(!is_right));
    }
    Ok((waits, wrong))
}

/// Waits for the response with this id; whether its status is 200.
fn responds(client: &mut Subscriber, id: u64) -> Outcome<bool> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        for (_, payload) in take(client)? {
            let response: Value = serde_json::from_slice(&payload)?;
            if response["id"] == id {
                return Ok(response["status"] == 200);
            }
        }
    }
    Ok(false)
}

/// One request of each of so many devices, with a window.
pub fn each_once(stage: &Stage, devices: u64) -> Outcome<()> {
    let mut client = connect(stage.mqtt_port, "bench-asks-all", "tenant/+/device/+/response/#")?;
    let (mut sent, mut answered) = (0, 0);
    while answered < devices {
        while sent < devices && sent - answered < AT_ONCE {
            let topic = format!("{}/request/time", own_topics(sent));
            client.publish(&topic, b"{}", packet_id(sent + 1))?;
            sent += 1;
        }
        answered += take(&mut client)?.len() as u64;
    }
    Ok(())
}

/// Commands that plain SQL queues, at [`ROWS`] for so many seconds: from before the INSERT to the
/// device.
pub fn commands(stage: &Stage, seconds: u64) -> Outcome<Round> {
    let daemon = stage.daemon("bench-commands", &OPEN)?;
    let before = cpu(daemon.process.id());
    let mut client = connect(stage.mqtt_port, "bench-devices", "tenant/+/device/+/commands")?;
    let (arrived_in, arrived) = mpsc::channel();
    let wanted = seconds * ROWS;
    let reader = thread::spawn(move || -> Result<(), String> {
        let mut seen = 0;
        while seen < wanted {
            for (_, payload) in take(&mut client).map_err(|error| error.to_string())? {
                let command: Value =
                    serde_json::from_slice(&payload).map_err(|error| error.to_string())?;
                let id = command["command_id"].as_str().unwrap_or_default().to_owned();
                seen += 1;
                let _ = arrived_in.send((id, Instant::now()));
            }
        }
        Ok(())
    });
    let mut database = stage.database()?;
    let (begun, mut queued) = (Instant::now(), HashMap::new());
    for number in 0..wanted {
        let due = begun + Duration::from_micros(1_000_000 / ROWS * number);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let id = format!("00000000-0000-4000-8000-{number:012x}");
        queued.insert(id.clone(), Instant::now());
        let (tenant, device) = (tenant(number), device(number));
        database.query(&format!(
            "INSERT INTO device_commands (tenant_id, device_id, command_id, command_type, params) \
             VALUES ('{tenant}', '{device}', '{id}', 'open', '{{}}')"
        ))?;
    }
    let mut waits = Vec::new();
    while let Ok((id, at)) = arrived.recv_timeout(PATIENCE) {
        waits.extend(queued.remove(&id).map(|queued| at.duration_since(queued)));
    }
    if queued.is_empty() {
        reader.join().map_err(|_| "the reader panicked")??;
    }
    database.query("DELETE FROM device_commands")?;
    let wrong = queued.len() as f64;
    conclude(stage, daemon, before, begun, waits, wrong)
}

/// Ends the daemon; what was measured.
pub fn conclude(
    stage: &Stage,
    daemon: Daemon,
    cpu_before: u64,
    begun: Instant,
    waits: Vec<Duration>,
    wrong: f64,
) -> Outcome<Round> {
    let (took, used) = (begun.elapsed(), cpu(daemon.process.id()) - cpu_before);
    let memory_mib = peak_mib(daemon.process.id());
    stage.dismiss(daemon)?;
    if waits.is_empty() {
        return Err("nothing came back".into());
    }
    let count = waits.len() as f64;
    Ok(Round {
        rate: count / took.as_secs_f64(),
        own: used as f64 / count,
        memory_mib,
        latency: Some(quantiles(waits)),
        wrong,
        ..Round::default()
    })
}

/// A device's connection.
pub fn connect(port: u16, client_id: &str, filter: &str) -> Outcome<Subscriber> {
    Ok(Hello { port, client_id, clean: true, window: 1_000 }.subscribe_to(filter, 1)?)
}

/// The messages that have arrived, acknowledged: topic and payload.
pub fn take(client: &mut Subscriber) -> Outcome<Vec<(String, Vec<u8>)>> {
    let (mut messages, mut ids) = (Vec::new(), Vec::new());
    client.read(|message| {
        messages
            .push((String::from_utf8_lossy(message.topic).into_owned(), message.payload.to_vec()));
        if message.packet_id != 0 {
            ids.push(message.packet_id);
        }
    })?;
    if !ids.is_empty() {
        acknowledge(&mut client.socket, &ids)?;
    }
    Ok(messages)
}

/// 1 to 65,535, over and over.
pub fn packet_id(number: u64) -> u16 {
    u16::try_from(number % 65_535).unwrap_or(0) + 1
}

fn own_topics(number: u64) -> String {
    format!("tenant/{}/device/{}", tenant(number), device(number))
}

fn tenant(number: u64) -> String {
    format!("sluice-sim-{:03}", number % TENANTS)
}

fn device(number: u64) -> String {
    format!("d-{number:06}")
}
