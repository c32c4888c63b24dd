//! A reader at the other broker that keeps its session: `mosquitto_sub`, and what it has printed.
//!
//! It knows the payloads of the numbered messages of `faults::load`, and nothing of Sluice.

use std::collections::BTreeMap;

use super::rig::Peer;
use crate::support::process::find_program;
use crate::support::wait;

/// A running reader.
#[derive(Debug)]
pub struct Reader {
    peer: Peer,
}

/// A message that it has printed.
#[derive(Clone, Debug)]
pub struct Read {
    /// Seconds since 1970 at its arrival.
    pub at: f64,
    pub topic: String,
    pub payload: String,
}

impl Reader {
    /// Reads everything at the broker of this port, also what is published while either is away.
    pub fn start(port: u16, id: &str) -> Self {
        let program = find_program("mosquitto_sub").expect("mosquitto_sub is not installed");
        let port = port.to_string();
        let args = [
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-V",
            "5",
            "-i",
            id,
            "-c",
            "-x",
            "3600",
            "-q",
            "1",
            "-t",
            "#",
            "-F",
            "%U %t %p",
        ];
        Self { peer: Peer::start_program(&program, &args, &[]) }
    }

    /// All that it has read.
    pub fn all(&self) -> Vec<Read> {
        let lines = self.peer.lines();
        lines.iter().filter_map(|line| Read::of(line)).collect()
    }

    /// Waits until it has read this many messages.
    pub fn wait(&self, count: usize) -> Vec<Read> {
        wait::for_ok(&format!("the reader has {count} messages"), || {
            let all = self.all();
            if all.len() >= count { Ok(all) } else { Err(format!("it has {}", all.len())) }
        })
    }

    /// Waits until it has a message whose payload holds this text.
    pub fn wait_for(&self, text: &str) -> Read {
        wait::for_some(&format!("the reader has {text}"), || {
            self.all().into_iter().find(|read| read.payload.contains(text))
        })
    }

    /// The numbers of each device in the order of their first appearance. The device is the second
    /// level of the topic.
    pub fn first_appearances(&self) -> BTreeMap<String, Vec<u64>> {
        let mut found: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for read in self.all() {
            let Some(device) = read.topic.split('/').nth(1) else { continue };
            let body: serde_json::Value = serde_json::from_str(&read.payload).unwrap();
            let number = body["seq"].as_u64().unwrap();
            let numbers = found.entry(device.to_owned()).or_default();
            if !numbers.contains(&number) {
                numbers.push(number);
            }
        }
        found
    }

    /// Each device has every number below `count`, and their first appearances ascend.
    pub fn assert_complete_and_in_order(&self, devices: &[&str], count: u64) {
        wait::for_ok("the reader has every number", || {
            let found = self.first_appearances();
            let numbers = |device: &&&str| found.get(**device).map_or(0, Vec::len) as u64;
            let missing: Vec<_> = devices.iter().filter(|device| numbers(device) < count).collect();
            if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} have {found:?}")) }
        });
        let found = self.first_appearances();
        for device in devices {
            let numbers = found.get(*device).cloned().unwrap_or_default();
            let expected: Vec<u64> = (0..count).collect();
            assert_eq!(numbers, expected, "{device}{}", wait::log_tails());
        }
    }
}

impl Read {
    fn of(line: &str) -> Option<Self> {
        let (at, rest) = line.split_once(' ')?;
        let (topic, payload) = rest.split_once(' ')?;
        let at = at.parse().ok()?;
        Some(Self { at, topic: topic.to_owned(), payload: payload.to_owned() })
    }
}
