//! Standard error and standard output that cannot be written: the daemon continues, and a command
//! ends quietly.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::support::daemon::{self, Settings};
use crate::support::port;
use crate::support::wait;

const LOST: &str = "sluice_log_lines_lost_total ";

/// What a pipe holds.
const PIPE_BYTES: usize = 64 * 1024;

/// A daemon that logs all it does, without a watchdog: the test holds its standard error.
struct Loud {
    child: Child,
    ops: u16,
    _settings: Settings,
}

// === impl Loud ===

impl Loud {
    fn start(stderr: Stdio) -> Self {
        let (ops, nowhere) = (port::free(), port::free());
        let settings = Settings::empty()
            .set("DATABASE_URL", &format!("postgres://nobody:x@127.0.0.1:{nowhere}/none"))
            .set("MQTT_HOST", "127.0.0.1")
            .set("MQTT_PORT", &nowhere.to_string())
            .set("OPS_BIND", &format!("127.0.0.1:{ops}"))
            .set("LOG_LEVEL", "trace")
            .set("SHUTDOWN_TIMEOUT_SECONDS", "5");
        let child =
            settings.command(&["run"]).stderr(stderr).stdout(Stdio::null()).spawn().unwrap();
        Self { child, ops, _settings: settings }
    }

    fn lost(&self) -> f64 {
        let Ok((200, metrics)) = daemon::get(self.ops, "/metrics") else { return -1.0 };
        metrics
            .lines()
            .find_map(|line| line.strip_prefix(LOST))
            .expect("the metric")
            .parse()
            .unwrap()
    }

    /// SIGTERM; the exit code.
    fn terminate(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(
            Command::new("/bin/sh").args(["-c", "kill -TERM $0", &id]).status().unwrap().success()
        );
        wait::for_some("it ends", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Loud {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_log_that_is_not_read_costs_lines_and_never_the_daemon() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut daemon = Loud::start(writer.into());
    // It writes a line, then its reader ends.
    let mut first = String::new();
    BufReader::new(reader).read_line(&mut first).unwrap();
    assert!(first.contains("sluice starts"), "{first}");
    wait::until("lines are lost", || daemon.lost() > 0.0);
    assert!(daemon.child.try_wait().unwrap().is_none(), "it runs");
    assert_eq!(daemon.terminate(), Some(0));
}

#[test]
fn a_full_disk_under_the_log_costs_lines_and_never_the_daemon() {
    let daemon = Loud::start(File::options().write(true).open("/dev/full").unwrap().into());
    wait::until("lines are lost", || daemon.lost() > 0.0);
    assert_eq!(daemon.terminate(), Some(0));
}

#[test]
fn a_reader_that_stalls_holds_up_neither_answers_nor_the_end() {
    // The reader is there and takes nothing, and the pipe between them is full.
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all("\n".repeat(PIPE_BYTES).as_bytes()).unwrap();
    let daemon = Loud::start(writer.into());
    wait::until("it answers", || {
        daemon::get(daemon.ops, "/livez").is_ok_and(|(status, _)| status == 200)
    });
    assert_eq!(daemon.terminate(), Some(0));
    drop(reader);
}

#[test]
fn a_log_that_is_read_is_complete_to_its_last_line() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let daemon = Loud::start(writer.into());
    let reading = thread::spawn(move || {
        let mut log = String::new();
        reader.read_to_string(&mut log).unwrap();
        log
    });
    wait::until("it answers", || daemon::get(daemon.ops, "/livez").is_ok());
    assert!(daemon.lost().abs() < f64::EPSILON);
    assert_eq!(daemon.terminate(), Some(0));
    let log = reading.join().unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert!(lines.first().is_some_and(|line| line.contains("sluice starts")), "{log}");
    assert!(lines.last().is_some_and(|line| line.contains("stopped")), "{log}");
}

#[test]
fn a_command_whose_reader_has_seen_enough_ends_quietly() {
    let settings = Settings::empty();
    for line in [
        &["config", "template"][..],
        &["config", "show"],
        &["--help"],
        &["config", "show", "--output", "json"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let done = settings.command(line).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(
            (done.status.code(), String::from_utf8_lossy(&done.stderr).as_ref()),
            (Some(0), ""),
            "{line:?}"
        );
        // When its errors are not read either, its exit code reports them.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let wrong = settings.clone().set("MQTT_PORT", "nonsense");
        assert_eq!(wrong.command(&["run"]).stderr(writer).status().unwrap().code(), Some(78));
    }
}
