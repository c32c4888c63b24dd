//! What a row costs on Timescale and on Citus, of plain Postgres, and what it takes on the disk in a
//! columnstore. `scripts/bench` starts the servers of an engine whose library is installed.

use crate::measure::{Consumer, Load, Round, Way, copy_rows, round};
use crate::plan::{Case, Extent, Measured, SMALL, Set, Target, least, most, of, ratio};
use crate::stage::{Outcome, Server, Stage};

const PLAIN: &str = "COPY of 1,000 rows, plain engine";
const TIMESCALE: &str = "COPY of 1,000 rows, engine Timescale";
const CITUS: &str = "COPY of 1,000 rows, engine Citus";
const PLAIN_LARGE: &str = "COPY of 5,000 rows, plain engine";
const CITUS_LARGE: &str = "COPY of 5,000 rows, engine Citus";
const WHOLE_PLAIN: &str = "sluice, plain engine";
const WHOLE_TIMESCALE: &str = "sluice, engine Timescale";
const WHOLE_CITUS: &str = "sluice, engine Citus";
const DAY: &str = "a day in the columnstore of an engine";

/// Rows of a batch.
const ROWS: u64 = 1_000;
const MANY_ROWS: u64 = 5_000;

/// Pairs: an engine's factor is a ratio of two rounds that ran one after the other.
const PAIRS: usize = 5;

/// A day of this many devices, each with a message every 10 s.
const DAY_DEVICES: u32 = 100;
const DAY_MESSAGES: u32 = 8_640;

/// The servers of the engines, by name.
#[derive(Clone, Debug, Default)]
pub struct Engines(pub Vec<(String, Server)>);

impl std::str::FromStr for Engines {
    type Err = std::num::ParseIntError;

    /// `timescale:5433:17 citus:5434:18,19,20`: name, port of the socket, process ids.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let engines = text.split_whitespace().filter_map(|word| {
            let mut parts = word.splitn(3, ':');
            Some((parts.next()?, parts.next()?, parts.next()?))
        });
        let parse = |(name, port, ids): (&str, &str, &str)| {
            let processes = ids.split(',').map(str::parse).collect::<Result<_, _>>()?;
            Ok((name.to_owned(), Server { port: port.parse()?, processes }))
        };
        engines.map(parse).collect::<Result<_, _>>().map(Self)
    }
}

impl Engines {
    fn of(&self, name: &str) -> Option<&Server> {
        self.0.iter().find(|(engine, _)| engine == name).map(|(_, server)| server)
    }
}

/// Nothing without an engine.
pub fn sets(engines: &Engines, extent: Extent, full: Load) -> Vec<Set> {
    let (timescale, citus) = (engines.of("timescale"), engines.of("citus"));
    let rows = extent.messages;
    let mut small = vec![copying(PLAIN, None, rows, ROWS)];
    small.extend(timescale.map(|server| copying(TIMESCALE, Some(server), rows, ROWS)));
    small.extend(citus.map(|server| copying(CITUS, Some(server), rows, ROWS)));
    let mut large = vec![copying(PLAIN_LARGE, None, rows, MANY_ROWS)];
    large.extend(citus.map(|server| copying(CITUS_LARGE, Some(server), rows, MANY_ROWS)));
    let load = Load { way: Way::Engine, ..full };
    let mut whole = vec![storing(WHOLE_PLAIN, None, load)];
    whole.extend(timescale.map(|server| storing(WHOLE_TIMESCALE, Some(server), load)));
    whole.extend(citus.map(|server| storing(WHOLE_CITUS, Some(server), load)));
    let mut sets: Vec<Set> = [small, large, whole]
        .into_iter()
        .filter(|cases| cases.len() > 1)
        .map(|cases| Set { cases, times: PAIRS })
        .collect();
    if let Some(server) = timescale.cloned() {
        let run = Box::new(move |stage: &Stage| columnstore(&stage.on(&server)));
        sets.push(Set { cases: vec![Case { name: DAY.into(), ground: 0, run }], times: 1 });
    }
    sets
}

pub fn targets(measured: &Measured) -> Vec<Target> {
    let database = |round: &Round| round.database;
    vec![
        most(
            "CPU of a row, Timescale, of plain",
            ratio(measured, TIMESCALE, PLAIN, database),
            1.05,
        ),
        most("CPU of a row, Citus, of plain", ratio(measured, CITUS, PLAIN, database), 1.6),
        most(
            "CPU of a row in batches of 5,000, Citus, of plain",
            ratio(measured, CITUS_LARGE, PLAIN_LARGE, database),
            1.6,
        ),
        least(
            "bytes of a row, of those in the columnstore",
            of(measured, DAY).and_then(|round| round.smaller),
            8.0,
        ),
    ]
}

/// Makes the schema on each engine, and changes how telemetry lies there.
pub fn prepare(stage: &Stage, engines: &Engines) -> Outcome<()> {
    for (name, server) in &engines.0 {
        println!("preparing the engine {name}");
        let stage = stage.on(server);
        if name == "citus" {
            spread(&stage, server)?;
        } else {
            stage.database()?.query("CREATE EXTENSION timescaledb")?;
            stage.migrate()?;
            stage.run(&[], &["store", "hypertable", "--yes"])?;
        }
        crate::register(&stage, SMALL)?;
    }
    Ok(())
}

/// A coordinator and the workers behind it, which are reached by their sockets.
fn spread(stage: &Stage, server: &Server) -> Outcome<()> {
    let socket = stage.socket.display();
    let nodes = (server.port..).take(server.processes.len());
    for port in nodes.clone() {
        let node = Server { port, processes: Vec::new() };
        stage.on(&node).database()?.query("CREATE EXTENSION citus")?;
    }
    let mut database = stage.database()?;
    database.query(&format!("SELECT citus_set_coordinator_host('{socket}', {})", server.port))?;
    for port in nodes.skip(1) {
        database.query(&format!("SELECT citus_add_node('{socket}', {port})"))?;
    }
    stage.migrate()?;
    stage.run(&[], &["store", "spread", "--yes"])
}

fn copying(name: &str, server: Option<&Server>, rows: u64, batch: u64) -> Case {
    let server = server.cloned();
    let run = move |stage: &Stage| {
        let stage = server.as_ref().map_or_else(|| stage.clone(), |server| stage.on(server));
        stage.clear()?;
        copy_rows(&stage, SMALL, rows, batch)
    };
    Case { name: name.into(), ground: 0, run: Box::new(run) }
}

fn storing(name: &str, server: Option<&Server>, load: Load) -> Case {
    let server = server.cloned();
    let run = move |stage: &Stage| {
        let stage = server.as_ref().map_or_else(|| stage.clone(), |server| stage.on(server));
        round(&stage, Consumer::Sluice(1), load)
    };
    Case { name: name.into(), ground: 0, run: Box::new(run) }
}

/// A day of devices whose values change slowly, as those of the simulator do.
fn columnstore(stage: &Stage) -> Outcome<Round> {
    stage.clear()?;
    let mut database = stage.database()?;
    let rows = f64::from(DAY_DEVICES) * f64::from(DAY_MESSAGES);
    database.query(&format!(
        "INSERT INTO telemetry (time, received_at, tenant_id, device_id, site_id, msg_type, seq, metrics, message_id) \
         SELECT t, t + make_interval(secs => 0.005 + random() * 0.05), 'sluice-sim-0' || d % 20, 'd-' || d, 'north', \
             'telemetry', 1795000000000000000 + k * 1000 + d, jsonb_build_object('battery_v', 3.71, 'rssi_dbm', -67, \
                 'humidity_pct', round((57 + 20 * sin(k / 500.0) + random() * 0.4)::numeric, 2), \
                 'temperature_c', round((27 + 9 * sin(k / 900.0) + random() * 0.15)::numeric, 2)), gen_random_uuid() \
         FROM generate_series(1, {DAY_DEVICES}) d, generate_series(0, {DAY_MESSAGES} - 1) k, \
             LATERAL (SELECT date_trunc('day', now() - interval '3 days', 'UTC') \
                 + make_interval(secs => k * 10 + random() * 9) AS t) AS moment"
    ))?;
    let size = "SELECT hypertable_size('telemetry')";
    let before: f64 = database.value(size)?.parse()?;
    stage.run(&[], &["store", "hypertable", "--columnstore", "--yes"])?;
    for chunk in database.query("SELECT show_chunks('telemetry')::text")?.into_iter().flatten() {
        database.query(&format!("CALL convert_to_columnstore('{chunk}')"))?;
    }
    let after: f64 = database.value(size)?.parse()?;
    // The other rounds have a hypertable without it.
    stage.clear()?;
    database.query("ALTER TABLE telemetry SET (timescaledb.enable_columnstore = false)")?;
    println!("{:.0} bytes a row, {:.0} in the columnstore", before / rows, after / rows);
    Ok(Round { smaller: Some(before / after), ..Round::default() })
}
