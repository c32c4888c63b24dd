//! What `mosquitto_sub` receives, and a device that answers its commands.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::device::{Device, Fate, Message};
use crate::support::dir::Scratch;
use crate::support::process::{Launch, Process, find_program, read_log};
use crate::support::wait;

/// Topic, retain flag, expiry, response topic, and payload.
const FORMAT: &str = "%t retain=%r expiry=%E to=%R %p";

/// A client that subscribes; it ends when this is dropped.
pub struct Receiver {
    _process: Process,
    log: PathBuf,
    _dir: Scratch,
}

/// A message as it arrived.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Topic and properties.
    pub head: String,
    /// The payload; null if it is empty.
    pub payload: Value,
}

impl Receiver {
    /// Subscribes with a clean session.
    pub fn clean(port: u16, topics: &[&str]) -> Self {
        Self::start(port, topics, &[])
    }

    /// Subscribes with a session that the broker keeps.
    pub fn lasting(port: u16, id: &str, topics: &[&str]) -> Self {
        Self::start(port, topics, &["-c", "-i", id, "-x", "3600"])
    }

    fn start(port: u16, topics: &[&str], more: &[&str]) -> Self {
        let dir = Scratch::new("receiver");
        let log = dir.path().join("log");
        let port_text = port.to_string();
        let mut args = vec!["-V", "5", "-p", &port_text, "-q", "1", "-F", FORMAT];
        args.extend(more);
        for topic in topics.iter().chain(&["subscribed"]) {
            args.extend(["-t", topic]);
        }
        let process = Process::start(Launch {
            name: "mosquitto_sub",
            program: &find_program("mosquitto_sub").expect("mosquitto_sub is not installed"),
            args: args.into_iter().map(str::to_owned).collect(),
            envs: Vec::new(),
            log: &log,
            dir: dir.path(),
            account: None,
            parting: "KILL",
        });
        let receiver = Self { _process: process, log, _dir: dir };
        let mut probe = Device::connect(port, "probe");
        wait::until("mosquitto_sub is subscribed", || {
            probe.publish("subscribed", "");
            read_log(&receiver.log).contains("subscribed ")
        });
        receiver
    }

    /// All messages so far, in the order of their arrival.
    pub fn all(&self) -> Vec<Arrival> {
        arrivals(&self.log)
    }

    /// Everything that arrived, as text.
    pub fn text(&self) -> String {
        read_log(&self.log)
    }

    /// Waits for at least this many.
    pub fn wait_for(&self, count: usize) -> Vec<Arrival> {
        wait::for_ok(&format!("{count} messages arrive"), || {
            let all = self.all();
            if all.len() >= count { Ok(all) } else { Err(format!("{all:?}")) }
        })
    }

    /// The last message on a topic, if it has a payload.
    pub fn last_on(&self, topic: &str) -> Option<Value> {
        let head = format!("{topic} ");
        let all = self.all();
        let last = all.into_iter().rev().find(|arrival| arrival.head.starts_with(&head))?;
        (!last.payload.is_null()).then_some(last.payload)
    }
}

impl Arrival {
    pub fn id(&self) -> &str {
        self.payload["command_id"].as_str().unwrap_or_default()
    }
}

fn arrivals(log: &std::path::Path) -> Vec<Arrival> {
    let text = read_log(log);
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = complete.lines().filter(|line| line.starts_with("tenant/"));
    lines
        .map(|line| {
            let (head, payload) = match line.find(" {") {
                Some(place) => (&line[..place], serde_json::from_str(&line[place..]).unwrap()),
                None => (line, Value::Null),
            };
            Arrival { head: head.to_owned(), payload }
        })
        .collect()
}

/// A device that acknowledges each command that a [`Receiver`] gets, again and again until the
/// broker has taken the acknowledgement; it survives the ends of the broker.
pub struct Answering {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Answering {
    pub fn start(port: u16, receiver: &Receiver, identity: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (log, seen) = (receiver.log.clone(), Arc::clone(&stop));
        let topic = format!("tenant/{identity}/commands/ack");
        let heartbeat = format!("tenant/{identity}/heartbeat");
        let thread = std::thread::spawn(move || {
            let mut done = 0;
            let mut device = None;
            let mut heartbeat_at = Instant::now();
            while !seen.load(Ordering::Relaxed) {
                let all = arrivals(&log);
                let message = match all.get(done) {
                    Some(next) => {
                        Message::new(&topic, format!(r#"{{"command_id":"{}"}}"#, next.id()))
                    }
                    None if Instant::now() >= heartbeat_at => {
                        heartbeat_at = Instant::now() + Duration::from_secs(1);
                        Message::new(&heartbeat, "{}")
                    }
                    None => {
                        std::thread::sleep(Duration::from_millis(5));
                        continue;
                    }
                };
                let Some(mut connected) =
                    device.take().or_else(|| Device::try_connect(port, "answering", None).ok())
                else {
                    std::thread::sleep(Duration::from_millis(50));
                    continue;
                };
                let is_answer = message.topic == topic.as_bytes();
                if connected.publish_all(&[message]) == [Fate::Accepted] {
                    done += usize::from(is_answer);
                    device = Some(connected);
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
