//! `sluice link broadcast-demo`: three listeners and one sender, and who received the message.
//!
//! The sender publishes only after the other broker has granted every subscription.

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::time::{Instant, timeout};

use super::{client, named, send};
use crate::broker::error::BrokerError;
use crate::command::failure::{Exit, Failure};
use crate::command::table::{self, OutputFormat};
use crate::command::text::printable;
use crate::config::Config;
use crate::domain::link::LinkName;
use crate::link::explain::CodePacket;
use crate::link::explain::codes::of_code;
use crate::link::kind::LinkKind;
use crate::link::settings::LinkSettings;
use crate::link::visit::{self, LinkVisit};

/// How many listeners there are.
const LISTENERS: usize = 3;

/// How long the message may take to each listener.
const PATIENCE: Duration = Duration::from_secs(15);

/// What to send to the listeners.
#[derive(Clone, Debug, Args)]
pub struct BroadcastDemoArgs {
    /// The link
    name: LinkName,
    /// The topic; without it public/broadcast at AWS, devices/ID/messages/events at Event Grid with the client id
    /// of the link, sluice/broadcast elsewhere
    #[arg(long)]
    topic: Option<String>,
    /// The payload
    #[arg(long, default_value = "Hello from the broadcaster! This is a test message.")]
    text: String,
    /// The beginning of the client ids; without it that of the link
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
}

/// What one listener received.
#[derive(Clone, Debug, Serialize)]
struct ListenerResult {
    client_id: String,
    received: bool,
    /// From PUBLISH to the message.
    millis: Option<u128>,
    /// Why it received nothing.
    why: Option<String>,
}

/// All of them.
#[derive(Debug, Serialize)]
struct BroadcastResult {
    ok: bool,
    topic: String,
    sender: String,
    listeners: Vec<ListenerResult>,
}

/// Runs the demonstration; exits with 1 when a listener received nothing.
pub async fn run(
    args: BroadcastDemoArgs,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let link = named::one(config, &args.name).await?;
    let topic = args.topic.clone().unwrap_or_else(|| default_topic(&link));
    client::check_limits(&link, &topic, args.text.as_bytes())?;
    let message = send::message(&topic, args.text.clone().into_bytes())?;
    let login = visit::login(&link);
    let front = args.client_id.clone().unwrap_or_else(|| {
        let random = getrandom::u32().unwrap_or_default() & 0xffff;
        visit::client_id(&link, &format!("demo-{random:04x}"))
    });
    let mut listeners = Vec::with_capacity(LISTENERS);
    for number in 1..=LISTENERS {
        let id = format!("{front}-{number}");
        client::may_subscribe(&link, &id)?;
        let mut listener = client::connect(&link, &login, &id).await?;
        client::subscribe(&mut listener, &link, &id, std::slice::from_ref(&topic)).await?;
        say(output, &format!("[Client {number}] subscribed to {topic} as {id}"))?;
        listeners.push((id, listener));
    }
    let sender_id = format!("{front}-sender");
    let mut sender = client::connect(&link, &login, &sender_id).await?;
    let begun = Instant::now();
    let answer = sender.publish(&message).await;
    let answer = answer.map_err(|error| client::lost(&link, &sender_id, &error))?;
    if answer.code >= client::REFUSED {
        let why = of_code(&link, CodePacket::PubAck, answer.code, Some(&topic));
        return Err(client::refused(&link.name, &sender_id, &why));
    }
    say(output, &format!("[Sender] published to {topic}: {}", args.text))?;
    let mut results = Vec::with_capacity(LISTENERS);
    // The messages have arrived or wait in the sockets, so one after the other loses nothing.
    for (number, (id, mut listener)) in listeners.into_iter().enumerate() {
        let result = received(&mut listener, id, &args.text, begun).await;
        say(output, &format!("[Client {}] {}", number + 1, described(&result, &args.text)))?;
        listener.close().await;
        results.push(result);
    }
    sender.close().await;
    print(&link, &BroadcastResult::of(topic, sender_id, results), output)
}

// === impl BroadcastResult ===

impl BroadcastResult {
    fn of(topic: String, sender: String, listeners: Vec<ListenerResult>) -> Self {
        let ok = listeners.iter().all(|listener| listener.received);
        Self { ok, topic, sender, listeners }
    }
}

// === private helpers ===

fn default_topic(link: &LinkSettings) -> String {
    match link.kind {
        LinkKind::AwsIot => "public/broadcast".to_owned(),
        LinkKind::EventGrid => format!("devices/{}/messages/events", link.client_id),
        LinkKind::Mqtt => "sluice/broadcast".to_owned(),
    }
}

/// Waits for the text; other messages of the topic are not counted.
async fn received(
    listener: &mut LinkVisit,
    client_id: String,
    text: &str,
    begun: Instant,
) -> ListenerResult {
    let wait = async {
        loop {
            let message = listener.message().await?;
            if !message.is_retained && message.payload == text.as_bytes() {
                return Ok::<_, BrokerError>(begun.elapsed());
            }
        }
    };
    let left = PATIENCE.saturating_sub(begun.elapsed()).max(Duration::from_secs(1));
    let why = match timeout(left, wait).await {
        Ok(Ok(took)) => {
            let millis = Some(took.as_millis());
            return ListenerResult { client_id, received: true, millis, why: None };
        }
        Ok(Err(error)) => BrokerError::to_string(&error),
        Err(_) => format!("no message within {} s", PATIENCE.as_secs()),
    };
    ListenerResult { client_id, received: false, millis: None, why: Some(why) }
}

fn described(result: &ListenerResult, text: &str) -> String {
    match (result.millis, &result.why) {
        (Some(millis), _) => format!("received: {text} ({millis} ms)"),
        (None, Some(why)) => format!("received nothing: {why}"),
        (None, None) => "received nothing".to_owned(),
    }
}

fn print(
    link: &LinkSettings,
    result: &BroadcastResult,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let count = result.listeners.iter().filter(|listener| listener.received).count();
    match output {
        OutputFormat::Json => table::json(result)?,
        OutputFormat::Table => {
            say(output, &format!("{count} of {LISTENERS} received the message"))?;
        }
    }
    if result.ok {
        return Ok(Exit::Done);
    }
    Err(Failure::new(
        Exit::Negative,
        format!(
            "{} listener(s) received nothing: the policy of {} must let these clients receive {}",
            LISTENERS - count,
            link.host,
            result.topic
        ),
    ))
}

fn say(output: OutputFormat, text: &str) -> io::Result<()> {
    match output {
        OutputFormat::Json => Ok(()),
        OutputFormat::Table => writeln!(io::stdout(), "{}", printable(text)),
    }
}
