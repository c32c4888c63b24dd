//! The servers of the bench, the daemons and the fleets it starts on them, and the questions it
//! asks them.

use std::error::Error;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::mqtt::Hello;
use crate::postgres::Connection;
use crate::processes::{Owned, cpu_with_children};

pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// A daemon that is not ready by then will not be.
const PATIENCE: Duration = Duration::from_mins(1);

/// A Postgres of the bench, or the nodes of one: the first is the one to connect to.
#[derive(Clone, Debug)]
pub struct Server {
    /// The number in the name of its socket.
    pub port: u16,
    pub processes: Vec<u32>,
}

/// Where everything is: the arguments of scripts/bench.
#[derive(Clone)]
pub struct Stage {
    pub sluice: PathBuf,
    pub out: PathBuf,
    pub socket: PathBuf,
    pub mqtt_port: u16,
    pub mosquitto: u32,
    pub postgres: Server,
    /// Where Postgres is reached by TCP.
    pub tcp_port: u16,
}

/// A running daemon.
pub struct Daemon {
    pub process: Owned,
    client_id: String,
    ops: u16,
}

/// What a daemon has done so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    pub stored: u64,
    pub duplicates: u64,
    pub quarantined: u64,
}

impl Stage {
    pub fn database(&self) -> Outcome<Connection> {
        Ok(Connection::open(&self.socket, self.postgres.port)?)
    }

    /// Empties the tables of messages; the registry stays.
    pub fn clear(&self) -> Outcome<()> {
        let mut database = self.database()?;
        database.query(
            "TRUNCATE telemetry, quarantine_events, quarantine_counters_minute, device_state",
        )?;
        database.query("CHECKPOINT").map(drop)?;
        Ok(())
    }

    /// By its Unix socket, or by this port.
    pub fn database_url(&self, port: Option<u16>) -> String {
        let socket = encoded(&self.socket.display().to_string());
        port.map_or_else(
            || format!("postgres://sluice@localhost:{}/sluice?host={socket}", self.postgres.port),
            |port| format!("postgres://sluice@127.0.0.1:{port}/sluice?sslmode=disable"),
        )
    }

    /// The program with the settings of the bench. Devices are authenticated by their certificates.
    fn program(&self, settings: &[(&str, &str)]) -> Outcome<Command> {
        let empty = self.out.join("empty.toml");
        fs::write(&empty, "")?;
        let url = self.database_url(None);
        let mut command = Command::new(&self.sluice);
        command
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .env("SLUICE_CONFIG", empty);
        command
            .env("MQTT_HOST", "127.0.0.1")
            .env("MQTT_PORT", self.mqtt_port.to_string())
            .env("DATABASE_URL", url);
        command
            .env("CERT_AUTH_ENABLED", "1")
            .env("REQUIRE_TOKEN", "0")
            .env("AUTH_CACHE_MAX_SIZE", "200000");
        command.env("HTTP_BIND", "127.0.0.1:0").env("HOOKS_BIND", "127.0.0.1:0");
        command.envs(settings.iter().copied());
        Ok(command)
    }

    pub fn migrate(&self) -> Outcome<()> {
        let migrated = self.program(&[])?.arg("migrate").stdout(Stdio::null()).status()?;
        if migrated.success() { Ok(()) } else { Err("sluice migrate failed".into()) }
    }

    /// Runs a command of the program to its end.
    pub fn run(&self, settings: &[(&str, &str)], arguments: &[&str]) -> Outcome<()> {
        let done = self.program(settings)?.args(arguments).output()?;
        if done.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        Err(format!("sluice {}: {said}", arguments.join(" ")).into())
    }

    /// The same with another Postgres.
    pub fn on(&self, postgres: &Server) -> Self {
        Self { postgres: postgres.clone(), ..self.clone() }
    }

    /// Starts a daemon under this client id and waits until it is ready.
    pub fn daemon(&self, client_id: &str, settings: &[(&str, &str)]) -> Outcome<Daemon> {
        let ops = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = fs::File::create(self.out.join(format!("{client_id}.log")))?;
        let bind = format!("127.0.0.1:{ops}");
        let own =
            [("MQTT_CLIENT_ID", client_id), ("OPS_BIND", bind.as_str()), ("LOG_LEVEL", "warn")];
        let mut command = self.program(&[&own[..], settings].concat())?;
        let process = Owned::start(command.arg("run").stderr(log))?;
        let daemon = Daemon { process, client_id: client_id.into(), ops };
        let begun = Instant::now();
        while !daemon.ask("/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            if begun.elapsed() > PATIENCE {
                return Err(format!(
                    "the daemon {client_id} is not ready; its log is in {}",
                    self.out.display()
                )
                .into());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(daemon)
    }

    /// Ends a daemon, and has the broker forget its session: else it would keep every later message
    /// for it.
    pub fn dismiss(&self, daemon: Daemon) -> Outcome<()> {
        daemon.process.stop()?;
        Ok(Hello::forget(self.mqtt_port, &daemon.client_id)?)
    }

    /// Starts a fleet.
    pub fn fleet(&self, arguments: &[String]) -> Outcome<Owned> {
        let mut command = self.program(&[("MQTT_CLIENT_ID", "bench")])?;
        let errors = fs::File::create(self.out.join("fleet.log"))?;
        Ok(Owned::start(command.args(["simulate", "--json"]).args(arguments).stderr(errors))?)
    }

    /// Reads back what a fleet says it sent; its findings.
    pub fn verify(&self, summary: &Value) -> Outcome<Value> {
        let file = self.out.join("sent.json");
        fs::write(&file, summary.to_string())?;
        let arguments = ["simulate", "--json", "--verify", "--of", file.to_str().ok_or("a path")?];
        let output = self.program(&[])?.args(arguments).output()?;
        serde_json::from_slice(&output.stdout)
            .map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned().into())
    }

    /// A yardstick, as a process of its own that is ready.
    pub fn yardstick(arguments: &[String]) -> Outcome<Owned> {
        let mut owned = Owned::start(
            Command::new(std::env::current_exe()?).arg("--yardstick").args(arguments),
        )?;
        owned.line()?;
        Ok(owned)
    }
}

impl Server {
    /// CPU time of all its processes so far, in microseconds.
    pub fn cpu(&self) -> u64 {
        self.processes.iter().map(|process| cpu_with_children(*process)).sum()
    }

    /// The same once the processes of closed connections have ended: one that ends between two looks
    /// is in neither.
    pub fn settled_cpu(&self) -> u64 {
        let (mut most, mut equal) = (0, 0);
        while equal < 5 {
            thread::sleep(Duration::from_millis(50));
            let now = self.cpu();
            equal = if now > most { 0 } else { equal + 1 };
            most = most.max(now);
        }
        most
    }
}

impl Daemon {
    pub fn done(&self) -> Outcome<Done> {
        let answer = self.ask("/metrics")?;
        let value = |series: &str| {
            let line =
                answer.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
            line.unwrap_or(0)
        };
        Ok(Done {
            stored: value("sluice_messages_total{result=\"stored\"}"),
            duplicates: value("sluice_messages_total{result=\"duplicate\"}"),
            quarantined: value("sluice_messages_total{result=\"quarantined\"}"),
        })
    }

    fn ask(&self, path: &str) -> Outcome<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ops))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Done {
    pub fn all(self) -> u64 {
        self.stored + self.duplicates + self.quarantined
    }
}

/// Relays TCP connections to Postgres' Unix socket, which is all the bench's Postgres
/// listens on; says at which port.
pub fn open_tcp(socket: &Path) -> Outcome<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (port, socket) = (listener.local_addr()?.port(), socket.join(".s.PGSQL.5432"));
    thread::spawn(move || {
        for caller in listener.incoming().flatten() {
            let _ = caller.set_nodelay(true);
            let Ok(server) = UnixStream::connect(&socket) else { continue };
            let (Ok(mut to_caller), Ok(mut to_server)) = (caller.try_clone(), server.try_clone())
            else {
                continue;
            };
            let (mut from_caller, mut from_server) = (caller, server);
            thread::spawn(move || {
                let _ = io::copy(&mut from_caller, &mut to_server);
                let _ = to_server.shutdown(Shutdown::Both);
            });
            thread::spawn(move || {
                let _ = io::copy(&mut from_server, &mut to_caller);
                let _ = to_caller.shutdown(Shutdown::Both);
            });
        }
    });
    Ok(port)
}

fn encoded(path: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
    path.bytes()
        .map(
            |byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") },
        )
        .collect()
}
