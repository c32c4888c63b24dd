//! What Sluice is measured against: the broker alone, the database alone, and a consumer that does
//! the bare least.
//!
//! Each runs as a process of its own, so that its CPU time is its own, and says `ready` and, when
//! all is done, `done` with the time. The bare consumer trusts every byte: it looks devices up in
//! a map, but checks no JSON and no time.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::mqtt::{self, Hello, Message, WINDOW};
use crate::postgres::Connection;

/// How long the bare consumer waits for company after a batch's first message.
const LINGER: Duration = Duration::from_millis(20);

const COPY: &str = "COPY telemetry \
    (time, received_at, tenant_id, device_id, site_id, msg_type, seq, metrics, extra, message_id) \
    FROM STDIN (FORMAT binary)";
/// The port in the name of the socket of the bench's first Postgres.
const POSTGRES_PORT: u16 = 5432;

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// 2000-01-01 in microseconds since 1970.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// Reads and acknowledges this many messages at this QoS, and does nothing with them.
pub fn drain(port: u16, qos: u8, messages: u64) -> io::Result<()> {
    let mut subscriber =
        Hello { port, client_id: "bench-drain", clean: true, window: WINDOW }.subscribe(qos)?;
    let (mut ids, mut seen) = (Vec::new(), 0);
    say("ready");
    while seen < messages {
        subscriber.read(|message| {
            seen += 1;
            if message.packet_id != 0 {
                ids.push(message.packet_id);
            }
        })?;
        mqtt::acknowledge(&mut subscriber.socket, &ids)?;
        ids.clear();
    }
    done();
    Ok(())
}

/// Takes messages without acknowledging them, into a session that is kept: the next owner of it
/// gets all of them again.
pub fn hoard(port: u16, client_id: &str, messages: u64) -> io::Result<()> {
    let mut subscriber = Hello { port, client_id, clean: false, window: 65_535 }.subscribe(1)?;
    let mut seen = 0;
    say("ready");
    while seen < messages {
        subscriber.read(|_| seen += 1)?;
    }
    done();
    Ok(())
}

/// Copies this many rows, a batch at a time, over one connection.
pub fn copy(socket: &Path, port: u16, devices: u64, messages: u64, batch: u64) -> io::Result<()> {
    let mut connection = Connection::open(socket, port)?;
    // As Sluice sets it on Citus. Another Postgres takes it as a setting that nobody reads.
    connection.query("SET citus.max_adaptive_executor_pool_size = 1")?;
    let mut buffer = Vec::new();
    say("ready");
    for first in (0..messages).step_by(usize::try_from(batch).unwrap()) {
        begin(&mut buffer);
        for number in first..(first + batch).min(messages) {
            let (tenant, device) =
                (format!("sluice-sim-{:03}", number % 20), format!("d-{:06}", number % devices));
            let row = Row {
                time: now_micros(),
                tenant: tenant.as_bytes(),
                device: device.as_bytes(),
                site: b"north",
                msg_type: b"telemetry",
                seq: number.cast_signed(),
                metrics: br#"{"battery_v":3.71,"humidity_pct":57.50,"rssi_dbm":-67,"temperature_c":27.50}"#,
            };
            row.encode(&mut buffer);
        }
        connection.copy(COPY, end(&mut buffer))?;
    }
    done();
    Ok(())
}

/// What the reader hands to the writer.
#[derive(Default)]
struct Pending {
    buffer: Vec<u8>,
    ids: Vec<u16>,
    rows: u64,
    since: Option<Instant>,
}

type Shared = Arc<(Mutex<Pending>, Condvar)>;

/// Receives this many messages, looks each device up, copies, and acknowledges after the commit.
pub fn consume(port: u16, qos: u8, socket: &Path, messages: u64) -> io::Result<()> {
    let mut connection = Connection::open(socket, POSTGRES_PORT)?;
    let mut sites = HashMap::new();
    for row in
        connection.query("SELECT tenant_id || '/device/' || device_id, site_id FROM devices")?
    {
        sites.insert(row[0].clone().into_bytes(), row[1].clone().into_bytes());
    }
    let mut subscriber =
        Hello { port, client_id: "bench-consume", clean: true, window: WINDOW }.subscribe(qos)?;
    let shared = Shared::default();
    begin(&mut shared.0.lock().unwrap().buffer);
    let acks = subscriber.socket.try_clone()?;
    let writer = thread::spawn({
        let shared = Arc::clone(&shared);
        move || write_all(&shared, connection, acks, messages)
    });
    say("ready");
    let mut seen = 0;
    while seen < messages {
        let mut fresh = Pending::default();
        subscriber.read(|message| {
            seen += 1;
            if let Some(row) = Row::read(&message, &sites) {
                row.encode(&mut fresh.buffer);
                fresh.rows += 1;
                fresh.ids.push(message.packet_id);
            }
        })?;
        let mut pending = shared.0.lock().unwrap();
        pending.buffer.extend(&fresh.buffer);
        pending.ids.extend(&fresh.ids);
        pending.rows += fresh.rows;
        pending.since.get_or_insert_with(Instant::now);
        shared.1.notify_one();
    }
    writer.join().unwrap()
}

fn write_all(
    shared: &Shared,
    mut connection: Connection,
    mut acks: TcpStream,
    messages: u64,
) -> io::Result<()> {
    let mut written = 0;
    let mut batch = Pending::default();
    while written < messages {
        let pending = shared.0.lock().unwrap();
        let pending = shared.1.wait_while(pending, |pending| pending.since.is_none()).unwrap();
        let waited = pending.since.map_or(LINGER, |since| since.elapsed());
        drop(pending);
        thread::sleep(LINGER.saturating_sub(waited));
        begin(&mut batch.buffer);
        (batch.rows, batch.since) = (0, None);
        batch.ids.clear();
        std::mem::swap(&mut *shared.0.lock().unwrap(), &mut batch);
        connection.copy(COPY, end(&mut batch.buffer))?;
        if batch.ids.first().is_some_and(|id| *id != 0) {
            mqtt::acknowledge(&mut acks, &batch.ids)?;
        }
        written += batch.rows;
    }
    done();
    Ok(())
}

/// A row of `telemetry`.
struct Row<'a> {
    time: i64,
    tenant: &'a [u8],
    device: &'a [u8],
    site: &'a [u8],
    msg_type: &'a [u8],
    seq: i64,
    metrics: &'a [u8],
}

impl<'a> Row<'a> {
    /// From a payload of the simulator, by position:
    /// `{"metrics":{..},"seq":..,"site_id":"..","ts":".."}`.
    fn read(message: &Message<'a>, sites: &'a HashMap<Vec<u8>, Vec<u8>>) -> Option<Self> {
        let identity_end =
            message.topic.iter().enumerate().filter(|(_, byte)| **byte == b'/').nth(3)?.0;
        let identity = &message.topic[b"tenant/".len()..identity_end];
        let slash = identity.iter().position(|byte| *byte == b'/')?;
        let metrics_end = message.payload.iter().position(|byte| *byte == b'}')? + 1;
        let seq = message.payload.get(metrics_end + b",\"seq\":".len()..)?.get(..19)?;
        let ts = message.payload.get(message.payload.len().checked_sub(29)?..)?;
        Some(Self {
            time: micros(ts),
            tenant: &identity[..slash],
            device: &identity[slash + b"/device/".len()..],
            site: sites.get(identity)?,
            msg_type: &message.topic[identity_end + 1..],
            seq: number(seq),
            metrics: &message.payload[b"{\"metrics\":".len()..metrics_end],
        })
    }

    fn encode(&self, buffer: &mut Vec<u8>) {
        buffer.extend(10_u16.to_be_bytes());
        field(buffer, &(self.time - POSTGRES_EPOCH).to_be_bytes());
        field(buffer, &(now_micros() - POSTGRES_EPOCH).to_be_bytes());
        for text in [self.tenant, self.device, self.site, self.msg_type] {
            field(buffer, text);
        }
        field(buffer, &self.seq.to_be_bytes());
        length(buffer, self.metrics.len() + 1);
        buffer.push(1);
        buffer.extend(self.metrics);
        buffer.extend((-1_i32).to_be_bytes());
        length(buffer, 16);
        buffer.extend(self.seq.to_be_bytes());
        buffer.extend(self.time.to_be_bytes());
    }
}

fn length(buffer: &mut Vec<u8>, length: usize) {
    buffer.extend(u32::try_from(length).unwrap().to_be_bytes());
}

fn field(buffer: &mut Vec<u8>, bytes: &[u8]) {
    length(buffer, bytes.len());
    buffer.extend(bytes);
}

fn begin(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.extend(HEADER);
}

fn end(buffer: &mut Vec<u8>) -> &[u8] {
    buffer.extend((-1_i16).to_be_bytes());
    buffer
}

fn number(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit.wrapping_sub(b'0')))
}

/// `2026-11-21T04:57:29.123456Z"}` in microseconds since 1970.
fn micros(ts: &[u8]) -> i64 {
    let part = |from: usize, to: usize| number(&ts[from..to]);
    let (year, month, day) = (part(0, 4), part(5, 7), part(8, 10));
    // Days since 1970 of the civil calendar, its year beginning in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    (((days * 24 + part(11, 13)) * 60 + part(14, 16)) * 60 + part(17, 19)) * 1_000_000
        + part(20, 26)
}

#[expect(clippy::disallowed_methods, reason = "a yardstick has no clock to be handed")]
fn now_micros() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

fn say(word: &str) {
    println!("{word}");
    io::stdout().flush().unwrap();
}

fn done() {
    say(&format!("done {}", now_micros()));
}
