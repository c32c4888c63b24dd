//! One simulated device that uses the way back: it sends requests, and receives responses and
//! commands, on a connection of its own.
//!
//! It repeats a request without a response, under the same id, as a device should. It decides
//! nothing about when to ask.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::{Instant, timeout};

use super::device_listener::DeviceListener;
use crate::broker::error::BrokerError;
use crate::broker::tools::fast_publisher::{
    BrokerAnswer, FastPublisher, Note, Packet, PublishOutcome, ReceivedMessage,
};
use crate::domain::ids::DeviceKey;

/// Unanswered messages of the connection.
const WINDOW: u16 = 100;

/// How long it waits for a response before it repeats the request.
const RESPONSE_PATIENCE: Duration = Duration::from_secs(3);

/// How often it sends a request at most.
const ATTEMPTS: u32 = 4;

/// Commands that wait to be taken; further ones are dropped.
const COMMANDS_MAX: usize = 1_000;

/// No latency of single messages is measured here.
const NO_NOTE: Note = [0; 2];

/// A device that sends requests and answers commands.
pub struct DeviceClient {
    device: DeviceKey,
    publisher: FastPublisher,
    answers: Vec<BrokerAnswer>,
    commands: VecDeque<ReceivedCommand>,
    last_id: u64,
}

/// The response to a request.
#[derive(Clone, Debug)]
pub struct DeviceResponse {
    /// As in HTTP.
    pub status: u16,
    /// The whole response.
    pub content: Value,
    /// From the first request to the response.
    pub after: Duration,
}

/// A command as the device received it.
#[derive(Clone, Debug)]
pub struct ReceivedCommand {
    /// Its identifier, which the acknowledgement repeats.
    pub id: String,
}

/// Why a device has no response.
#[derive(Debug, thiserror::Error)]
pub enum DeviceClientError {
    /// The connection failed.
    #[error(transparent)]
    Connection(#[from] BrokerError),
    /// The access rules refuse the topic.
    #[error(
        "the broker refuses {topic} (PUBACK 0x87): its access rules must permit it to the device"
    )]
    Refused {
        /// The topic.
        topic: String,
    },
    /// Sluice did not respond.
    #[error(
        "no response to {route} in {seconds} s: check that Sluice runs with DEVICE_API=1, \
         and that the broker permits its responses"
    )]
    NoResponse {
        /// The route.
        route: String,
        /// How long the device waited.
        seconds: u64,
    },
}

// === impl DeviceClient ===

impl DeviceClient {
    /// Connects with the device's certificate and subscribes to its responses and commands.
    pub async fn connect(
        listener: &DeviceListener,
        device: &DeviceKey,
        pem: &Path,
    ) -> Result<Self, BrokerError> {
        let config = listener.connection(device, pem);
        let mut publisher = FastPublisher::connect(&config, WINDOW, true).await?;
        publisher.subscribe(&filters(device)).await?;
        Ok(Self {
            device: device.clone(),
            publisher,
            answers: Vec::new(),
            commands: VecDeque::new(),
            last_id: 0,
        })
    }

    /// Sends a request and waits for its response.
    pub async fn request(
        &mut self,
        route: &str,
        mut content: Map<String, Value>,
    ) -> Result<DeviceResponse, DeviceClientError> {
        self.last_id += 1;
        content.insert("id".to_owned(), self.last_id.into());
        let topic = topic(&self.device, &format!("request/{route}"));
        let payload = Value::Object(content).to_string();
        let mut packet = Packet::new(&topic, payload.as_bytes(), true)?;
        let started = Instant::now();
        for _ in 0..ATTEMPTS {
            self.publisher.push(&mut packet, NO_NOTE);
            let response = timeout(RESPONSE_PATIENCE, self.response(&topic, self.last_id));
            if let Ok(response) = response.await {
                let (status, content) = response?;
                return Ok(DeviceResponse { status, content, after: started.elapsed() });
            }
        }
        let seconds = started.elapsed().as_secs();
        Err(DeviceClientError::NoResponse { route: route.to_owned(), seconds })
    }

    /// The next command, if one arrives in time.
    pub async fn next_command(
        &mut self,
        patience: Duration,
    ) -> Result<Option<ReceivedCommand>, DeviceClientError> {
        let waiting = async {
            while self.commands.is_empty() {
                self.receive().await?;
            }
            Ok(self.commands.pop_front())
        };
        timeout(patience, waiting).await.unwrap_or(Ok(None))
    }

    /// Acknowledges a command: it is carried out.
    pub async fn acknowledge(&mut self, command: &ReceivedCommand) -> Result<(), BrokerError> {
        let mut packet = acknowledgement(&self.device, &command.id, true)?;
        self.publisher.push(&mut packet, NO_NOTE);
        self.publisher.flush().await
    }

    /// Disconnects.
    pub async fn close(self) -> Result<(), BrokerError> {
        self.publisher.close().await
    }

    /// Status and content of the response with this id.
    async fn response(&mut self, topic: &str, id: u64) -> Result<(u16, Value), DeviceClientError> {
        loop {
            for message in self.receive().await? {
                let content: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
                if content["id"].as_u64() == Some(id) {
                    let status =
                        content["status"].as_u64().and_then(|status| status.try_into().ok());
                    return Ok((status.unwrap_or(0), content));
                }
            }
            let is_refused = |answer: &BrokerAnswer| answer.outcome == PublishOutcome::Refused;
            if self.answers.drain(..).any(|answer| is_refused(&answer)) {
                return Err(DeviceClientError::Refused { topic: topic.to_owned() });
            }
        }
    }

    /// Waits for packets; keeps commands and returns responses.
    async fn receive(&mut self) -> Result<Vec<ReceivedMessage>, BrokerError> {
        self.publisher.flush().await?;
        self.publisher.receive(&mut self.answers).await?;
        let (commands, responses): (Vec<_>, Vec<_>) =
            self.publisher.take_messages().into_iter().partition(is_command);
        let commands = commands.iter().filter_map(ReceivedCommand::read);
        self.commands.extend(commands.take(COMMANDS_MAX.saturating_sub(self.commands.len())));
        self.publisher.flush().await?;
        Ok(responses)
    }
}

// === impl ReceivedCommand ===

impl ReceivedCommand {
    /// The command in a message; `None` for a payload that is none.
    pub fn read(message: &ReceivedMessage) -> Option<Self> {
        let content: Value = serde_json::from_slice(&message.payload).ok()?;
        Some(Self { id: content["command_id"].as_str()?.to_owned() })
    }
}

/// What a device subscribes to: its responses, and its commands.
pub fn filters(device: &DeviceKey) -> [String; 2] {
    [topic(device, "response/#"), topic(device, "commands")]
}

/// Whether a message of [`filters`] is a command.
pub fn is_command(message: &ReceivedMessage) -> bool {
    message.topic.ends_with(b"/commands")
}

/// The topic of a device with this path.
pub fn topic(device: &DeviceKey, path: &str) -> String {
    format!("tenant/{}/{path}", device.identity())
}

/// The PUBLISH that acknowledges a command.
pub fn acknowledgement(
    device: &DeviceKey,
    command_id: &str,
    at_least_once: bool,
) -> Result<Packet, BrokerError> {
    let payload = serde_json::json!({ "command_id": command_id, "status": "ok" }).to_string();
    Packet::new(&topic(device, "commands/ack"), payload.as_bytes(), at_least_once)
}
