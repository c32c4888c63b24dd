//! Every device gets a new desired document at once, while telemetry is stored at 2,000/s.

use std::thread;
use std::time::{Duration, Instant};

use crate::asking::OPEN;
use crate::measure::{Load, Round, Way, wait_for_idle};
use crate::plan::LARGE;
use crate::postgres::Connection;
use crate::processes::{cpu, peak_mib};
use crate::rows::commit_latency;
use crate::stage::{Outcome, Stage};

/// Telemetry a second.
const RATE: u64 = 2_000;

/// Documents that are not out by then never will be.
const PATIENCE: Duration = Duration::from_mins(5);

/// How often the outbox is asked how much is left.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Changes all documents, tenant by tenant, and waits until the broker has them.
pub fn round(stage: &Stage, seconds: u64) -> Outcome<Round> {
    stage.clear()?;
    let daemon = stage.daemon("bench-documents", &OPEN)?;
    let mut database = stage.database()?;
    // Longer than the documents take: telemetry is stored all the time.
    let seconds = seconds.max(60);
    let load = Load {
        qos: 1,
        devices: 10_000,
        messages: RATE * seconds,
        rate: RATE,
        bad: 0,
        warm: false,
        on_top: false,
        way: Way::Usual,
    };
    let (own, broker) = (cpu(daemon.process.id()), cpu(stage.mosquitto));
    let postgres = stage.postgres.cpu();
    let fleet = stage.fleet(&load.arguments())?;
    thread::sleep(Duration::from_secs(2));
    let begun = Instant::now();
    for tenant in database.query("SELECT DISTINCT tenant_id FROM devices ORDER BY 1")?.concat() {
        database.query(&format!(
            "INSERT INTO device_state AS s (tenant_id, device_id, desired) \
             SELECT tenant_id, device_id, jsonb_build_object('interval_s', (random() * 1e6)::int) \
             FROM devices WHERE tenant_id = '{tenant}' \
             ON CONFLICT (tenant_id, device_id) DO UPDATE SET desired = excluded.desired"
        ))?;
    }
    let left = wait_until_published(&mut database)?;
    let took = begun.elapsed();
    let (said, content) = fleet.finish()?;
    if !content {
        return Err(format!("the fleet failed; see fleet.log in {}", stage.out.display()).into());
    }
    let summary: serde_json::Value = serde_json::from_str(&said)?;
    let sent = summary["sent"].as_u64().ok_or("no count")?;
    wait_for_idle(&daemon, sent)?;
    let latency = commit_latency(stage)?;
    let each = |micros: u64| micros as f64 / LARGE as f64;
    let round = Round {
        rate: LARGE as f64 / took.as_secs_f64(),
        own: each(cpu(daemon.process.id()) - own),
        broker: each(cpu(stage.mosquitto) - broker),
        database: each(stage.postgres.cpu().saturating_sub(postgres)),
        memory_mib: peak_mib(daemon.process.id()),
        latency,
        wrong: left,
        ..Round::default()
    };
    // The broker forgets the documents, or later rounds would measure it with them.
    database.query("UPDATE device_state SET desired = NULL WHERE desired IS NOT NULL")?;
    wait_until_published(&mut database)?;
    stage.dismiss(daemon)?;
    Ok(round)
}

/// Waits until the broker has every document; how many it never got.
fn wait_until_published(database: &mut Connection) -> Outcome<f64> {
    let begun = Instant::now();
    loop {
        let sql = "SELECT count(*) FROM device_pushes WHERE dirty_since IS NOT NULL";
        let left = database.value(sql)?.parse()?;
        if left == 0.0 || begun.elapsed() > PATIENCE {
            return Ok(left);
        }
        thread::sleep(ASK_EVERY);
    }
}
