//! What a large registry costs: a change of 100,000 devices with and without its triggers, and a CRL of
//! 100,000 entries: how long it takes to sign, and how long Mosquitto stands still when it reads it.
//!
//! Mosquitto listens with TLS and with the CRL; the client that asks it connects without.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::measure::Round;
use crate::mqtt::Hello;
use crate::plan::{Case, LARGE, Measured, Set, Target, alone, most, of, ratio};
use crate::processes::Owned;
use crate::report::quantiles;
use crate::stage::{Outcome, Stage};

const CHANGED: &str = "100,000 devices changed";
const WITHOUT: &str = "100,000 devices changed, no triggers";
const CRL: &str = "a CRL of 100,000 entries is read";

/// The name of the authority that signs the list.
const AUTHORITY: &str = "Bench";

const ENTRIES: u64 = 100_000;

/// How often Mosquitto reads the CRL, and for how long it is asked after each.
const RELOADS: u32 = 10;
const WATCHED: Duration = Duration::from_millis(1_500);

const PAIRS: usize = 5;

pub fn sets() -> Vec<Set> {
    let case = |name: &str, run: fn(&Stage) -> Outcome<Round>| Case {
        name: name.into(),
        ground: 0,
        run: Box::new(run),
    };
    vec![
        Set {
            cases: vec![
                case(CHANGED, |stage| change(stage, WITH_TRIGGERS)),
                case(WITHOUT, |stage| change(stage, WITHOUT_TRIGGERS)),
            ],
            times: PAIRS,
        },
        alone(case(CRL, reload)),
    ]
}

pub fn targets(measured: &Measured) -> Vec<Target> {
    let time = |round: &Round| round.rate.recip();
    vec![
        most(
            "change of 100,000 devices, of no triggers",
            ratio(measured, CHANGED, WITHOUT, time),
            1.1,
        ),
        most(
            "broker's stall at 100,000 entries, ms",
            of(measured, CRL).and_then(|r| Some(r.latency?[3])),
            250.0,
        ),
    ]
}

/// The triggers as the migrations leave them: some fire always, or only for replicated changes.
const WITH_TRIGGERS: &str = "ALTER TABLE devices ENABLE TRIGGER USER; \
    ALTER TABLE devices ENABLE ALWAYS TRIGGER devices_notify_truncate; \
    ALTER TABLE devices ENABLE REPLICA TRIGGER devices_notify";
const WITHOUT_TRIGGERS: &str = "ALTER TABLE devices DISABLE TRIGGER USER";

/// Changes one column of all devices, and changes it back.
fn change(stage: &Stage, triggers: &str) -> Outcome<Round> {
    let mut database = stage.database()?;
    database.query(
        "CREATE TABLE IF NOT EXISTS bench_sites AS SELECT tenant_id, device_id, site_id FROM devices",
    )?;
    database.query("VACUUM (ANALYZE) devices")?;
    database.query(triggers)?;
    let (before, begun) = (stage.postgres.cpu(), Instant::now());
    database.query(&format!(
        "UPDATE devices SET site_id = 'elsewhere' WHERE ctid IN (SELECT ctid FROM devices LIMIT {LARGE})"
    ))?;
    let (took, cpu) = (begun.elapsed(), stage.postgres.cpu() - before);
    database.query(WITHOUT_TRIGGERS)?;
    database.query(
        "UPDATE devices d SET site_id = b.site_id FROM bench_sites b \
         WHERE (b.tenant_id, b.device_id) = (d.tenant_id, d.device_id) AND d.site_id = 'elsewhere'",
    )?;
    database.query(WITH_TRIGGERS)?;
    Ok(Round {
        rate: LARGE as f64 / took.as_secs_f64(),
        database: cpu as f64 / LARGE as f64,
        ..Round::default()
    })
}

/// Signs the list, and has Mosquitto read it again and again while a client asks.
fn reload(stage: &Stage) -> Outcome<Round> {
    let dir = stage.out.join("crl");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir(&dir)?;
    let file = |name: &str| dir.join(name).display().to_string();
    let (cert, key, crl) = (file("ca.crt"), file("ca.key"), file("crl.pem"));
    stage.run(
        &[],
        &[
            "ca",
            "init",
            "--cert",
            &cert,
            "--key",
            &key,
            "--crl",
            &crl,
            "--name",
            AUTHORITY,
            "--server-name",
            "localhost",
        ],
    )?;
    revoke(stage)?;
    let begun = Instant::now();
    stage.run(&[], &["crl", "publish", "--cert", &cert, "--key", &key, "--crl", &crl])?;
    println!(
        "{ENTRIES} entries: signed in {:.2} s, {} bytes",
        begun.elapsed().as_secs_f64(),
        fs::metadata(&crl)?.len()
    );
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let tls = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let conf = dir.join("mosquitto.conf");
    fs::write(
        &conf,
        format!(
            "user root\nper_listener_settings false\nallow_anonymous true\nlistener {port} 127.0.0.1\nlistener {tls} 127.0.0.1\n\
         cafile {cert}\ncertfile {}\nkeyfile {}\ncrlfile {crl}\nrequire_certificate true\n",
            file("server.crt"),
            file("server.key"),
        ),
    )?;
    let broker = Owned::start(
        Command::new("mosquitto").arg("-c").arg(&conf).stderr(fs::File::create(dir.join("log"))?),
    )?;
    let mut client = connect(port)?;
    let mut worst = Vec::new();
    for _ in 0..RELOADS {
        let process = Pid::from_raw(broker.id().cast_signed()).ok_or("no process")?;
        kill_process(process, Signal::HUP)?;
        worst.push(slowest_answer(&mut client)?);
    }
    broker.stop()?;
    let mut database = stage.database()?;
    database.query("SET session_replication_role = replica; DELETE FROM revoked_certificates WHERE device_id LIKE 'crl-%'")?;
    println!("Mosquitto's longest silence after each of {RELOADS}: {worst:?}");
    Ok(Round { latency: Some(quantiles(worst)), ..Round::default() })
}

fn revoke(stage: &Stage) -> Outcome<()> {
    stage.database()?.query(&format!(
        "INSERT INTO revoked_certificates (certificate_id, tenant_id, device_id, common_name, fingerprint_sha256, issuer, \
             serial_number, not_after, revoked_at) \
         SELECT gen_random_uuid(), 'bench', 'crl-' || n, 'crl-' || n, md5(n::text) || md5('x' || n), 'CN={AUTHORITY}', \
             '4' || substr(md5(n::text), 1, 31), now() + interval '30 days', now() \
         FROM generate_series(1, {ENTRIES}) n"
    ))?;
    Ok(())
}

fn connect(port: u16) -> Outcome<TcpStream> {
    let begun = Instant::now();
    loop {
        let hello = Hello { port, client_id: "bench-ping", clean: true, window: 1 };
        match hello.subscribe_to("none", 0) {
            Ok(subscriber) => return Ok(subscriber.socket),
            Err(error) if begun.elapsed() > Duration::from_secs(20) => return Err(error.into()),
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Sends PINGREQ after each PINGRESP; the longest wait of a while.
fn slowest_answer(client: &mut TcpStream) -> Outcome<Duration> {
    let (begun, mut slowest) = (Instant::now(), Duration::ZERO);
    while begun.elapsed() < WATCHED {
        let asked = Instant::now();
        client.write_all(&[0xc0, 0])?;
        client.read_exact(&mut [0; 2])?;
        slowest = slowest.max(asked.elapsed());
        thread::sleep(Duration::from_millis(1));
    }
    Ok(slowest)
}
