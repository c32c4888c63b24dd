//! `sluice link send`: publishes one text, and ends when the other broker has answered.

use std::io::{self, Read, Write};

use clap::Args;
use serde_json::json;

use super::{client, named};
use crate::command::failure::{Exit, Failure};
use crate::command::table::{self, OutputFormat};
use crate::command::text::printable;
use crate::config::Config;
use crate::domain::exchange::{OutgoingMessage, PublishTopic};
use crate::domain::link::LinkName;
use crate::link::explain::CodePacket;
use crate::link::explain::codes::of_code;
use crate::link::settings::LinkSettings;
use crate::link::visit;

/// What to send, and where.
#[derive(Clone, Debug, Args)]
pub struct LinkSendArgs {
    /// The link
    name: LinkName,
    /// The topic at the other broker
    topic: String,
    /// The payload; - reads it from standard input
    text: String,
    /// Let the other broker keep it for later subscribers
    #[arg(long)]
    retain: bool,
    /// Connect with this client id; without it that of the link with a suffix
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
}

/// Sends the text; exits with 1 when the other broker does not accept it.
pub async fn run(
    args: LinkSendArgs,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let link = named::one(config, &args.name).await?;
    let payload = payload(&args.text, link.limits.payload_bytes)?;
    client::check_limits(&link, &args.topic, &payload)?;
    let bytes = payload.len();
    let message = OutgoingMessage { is_retained: args.retain, ..message(&args.topic, payload)? };
    let login = visit::login(&link);
    let client_id = client::client_id(&link, args.client_id.as_deref(), "send");
    say(output, "connecting", &format!("{}:{} client_id={client_id}", link.host, link.port))?;
    let mut visit = client::connect(&link, &login, &client_id).await?;
    say(output, "connected", "")?;
    say(output, "publishing", &format!("{}: {bytes} byte(s)", args.topic))?;
    let answer = visit.publish(&message).await;
    let answer = answer.map_err(|error| client::lost(&link, &client_id, &error))?;
    visit.close().await;
    if answer.code >= client::REFUSED {
        let why = of_code(&link, CodePacket::PubAck, answer.code, Some(&args.topic));
        return Err(client::refused(&link.name, &client_id, &why));
    }
    say(output, "published", &acknowledged(&link, answer.code))?;
    if output == OutputFormat::Json {
        table::json(&json!({
            "link": link.name.as_str(), "client_id": client_id, "topic": args.topic,
            "bytes": bytes, "code": answer.code,
        }))?;
    }
    Ok(Exit::Done)
}

/// A message with this payload.
pub fn message(topic: &str, payload: Vec<u8>) -> Result<OutgoingMessage, Failure> {
    let topic = PublishTopic::at_other_broker(topic)
        .map_err(|error| Failure::usage(format!("topic {topic}: {error}")))?;
    Ok(OutgoingMessage { content_type: None, ..OutgoingMessage::json(topic, payload) })
}

// === private helpers ===

/// The code 0x10: accepted, and no client has subscribed.
const NO_SUBSCRIBER: u8 = 0x10;

fn acknowledged(link: &LinkSettings, code: u8) -> String {
    match code {
        NO_SUBSCRIBER => {
            format!("{} accepted it; no client has subscribed to the topic", link.host)
        }
        _ => format!("{} has acknowledged it", link.host),
    }
}

fn payload(text: &str, max_bytes: usize) -> Result<Vec<u8>, Failure> {
    if text != "-" {
        return Ok(text.as_bytes().to_vec());
    }
    let mut payload = Vec::new();
    let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
    io::stdin().take(limit).read_to_end(&mut payload)?;
    if payload.len() > max_bytes {
        return Err(Failure::usage(format!(
            "standard input has more than the {max_bytes} bytes that the link allows"
        )));
    }
    Ok(payload)
}

fn say(output: OutputFormat, what: &str, text: &str) -> io::Result<()> {
    match output {
        OutputFormat::Json => Ok(()),
        OutputFormat::Table => {
            writeln!(io::stdout(), "{}", format!("[{what}] {}", printable(text)).trim_end())
        }
    }
}
