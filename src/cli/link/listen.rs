//! `sluice link listen`: prints what arrives at topics of the other broker.
//!
//! Each message is acknowledged when it is printed. Text of the other broker reaches the terminal
//! escaped only.

use std::io::{self, Write};
use std::time::Duration;

use clap::{Args, value_parser};
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use super::{client, named};
use crate::broker::error::BrokerError;
use crate::command::failure::{Exit, Failure};
use crate::command::table::OutputFormat;
use crate::command::text::printable;
use crate::config::Config;
use crate::domain::hex;
use crate::domain::link::LinkName;
use crate::domain::remote::RemoteMessage;
use crate::link::login::LoginSource;
use crate::link::settings::LinkSettings;
use crate::link::visit::{self, LinkVisit, VisitError};

/// What to listen to.
#[derive(Clone, Debug, Args)]
pub struct ListenArgs {
    /// The link
    name: LinkName,
    /// The topics at the other broker; + and # are allowed
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// End after this many messages
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time; exit code 1 if --count is not reached by then
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u64).range(1..=86_400))]
    wait: Option<u64>,
    /// Connect with this client id; without it that of the link with a suffix
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
}

/// What ends the command.
enum ListenEnding {
    Signal,
    Counted,
    Late,
    Lost(BrokerError),
}

/// One listener at work.
struct Listener<'a> {
    link: &'a LinkSettings,
    client_id: &'a str,
    output: OutputFormat,
    /// Messages that were printed.
    seen: u64,
    count: Option<u64>,
    until: Option<Instant>,
}

/// Listens until a signal, the count, the time, or the end of the connection.
pub async fn run(args: ListenArgs, config: &Config, output: OutputFormat) -> Result<Exit, Failure> {
    let (mut interrupt, mut terminate) =
        (on(SignalKind::interrupt())?, on(SignalKind::terminate())?);
    let link = named::one(config, &args.name).await?;
    let login = visit::login(&link);
    let client_id = client::client_id(&link, args.client_id.as_deref(), "listen");
    client::may_subscribe(&link, &client_id)?;
    let until = args.wait.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let count = args.count;
    let mut listener =
        Listener { link: &link, client_id: &client_id, output, seen: 0, count, until };
    loop {
        let mut visit = tokio::select! {
            visit = listener.connect(&login, &args.topics) => visit?,
            _ = interrupt.recv() => return listener.goodbye(None).await,
            _ = terminate.recv() => return listener.goodbye(None).await,
        };
        let ending = tokio::select! {
            ending = listener.print_messages(&mut visit) => ending?,
            _ = interrupt.recv() => ListenEnding::Signal,
            _ = terminate.recv() => ListenEnding::Signal,
        };
        match ending {
            ListenEnding::Signal => return listener.goodbye(Some(visit)).await,
            ListenEnding::Counted => {
                visit.close().await;
                return Ok(Exit::Done);
            }
            ListenEnding::Late => {
                visit.close().await;
                return listener.late();
            }
            // Only a new connection can carry a new token.
            ListenEnding::Lost(BrokerError::LoginAges) => {
                visit.close().await;
                listener.say("renewing", "the login ends soon: connecting again")?;
            }
            ListenEnding::Lost(error) => {
                return Err(client::lost(&link, &client_id, &VisitError::Broker(error)));
            }
        }
    }
}

// === impl Listener ===

impl Listener<'_> {
    async fn connect(&self, login: &LoginSource, topics: &[String]) -> Result<LinkVisit, Failure> {
        let (link, client_id) = (self.link, self.client_id);
        self.say("connecting", &format!("{}:{} client_id={client_id}", link.host, link.port))?;
        let mut visit = client::connect(link, login, client_id).await?;
        self.say("connected", "")?;
        self.say("subscribing", &topics.join(" "))?;
        client::subscribe(&mut visit, link, client_id, topics).await?;
        self.say("subscribed", &topics.join(" "))?;
        self.say("listening", "Ctrl-C ends the command")?;
        Ok(visit)
    }

    async fn print_messages(&mut self, visit: &mut LinkVisit) -> Result<ListenEnding, Failure> {
        loop {
            if self.count.is_some_and(|count| self.seen >= count) {
                return Ok(ListenEnding::Counted);
            }
            let next = tokio::select! {
                next = visit.message() => next,
                () = wait_until(self.until) => return Ok(ListenEnding::Late),
            };
            match next {
                Ok(message) => {
                    self.print(&message)?;
                    self.seen += 1;
                }
                Err(error) => return Ok(ListenEnding::Lost(error)),
            }
        }
    }

    fn print(&self, message: &RemoteMessage) -> io::Result<()> {
        match self.output {
            OutputFormat::Json => writeln!(io::stdout(), "{}", as_json(message)),
            OutputFormat::Table => writeln!(
                io::stdout(),
                "[message] topic={} payload={}",
                printable(&String::from_utf8_lossy(&message.topic)),
                payload(message)
            ),
        }
    }

    /// A line about the command itself: programs get only messages.
    fn say(&self, what: &str, text: &str) -> io::Result<()> {
        match self.output {
            OutputFormat::Json => Ok(()),
            OutputFormat::Table => {
                writeln!(io::stdout(), "{}", format!("[{what}] {}", printable(text)).trim_end())
            }
        }
    }

    async fn goodbye(&self, visit: Option<LinkVisit>) -> Result<Exit, Failure> {
        if let Some(visit) = visit {
            visit.close().await;
        }
        self.say("goodbye", &format!("{} message(s)", self.seen))?;
        Ok(Exit::Done)
    }

    fn late(&self) -> Result<Exit, Failure> {
        let Some(count) = self.count else { return Ok(Exit::Done) };
        Err(Failure::new(
            Exit::Negative,
            format!(
                "{} of {count} messages arrived: check that the publisher uses the same topic and sends after this \
                 command has subscribed",
                self.seen
            ),
        ))
    }
}

// === private helpers ===

fn on(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| {
        Failure::new(Exit::Internal, format!("cannot install a signal handler: {error}"))
    })
}

async fn wait_until(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}

fn payload(message: &RemoteMessage) -> String {
    let text = match std::str::from_utf8(&message.payload) {
        Ok(text) => printable(text),
        Err(_) => format!("(not UTF-8, in hex) {}", hex::encode(&message.payload)),
    };
    match message.cut_from {
        Some(bytes) => format!("{text} (the first bytes of {bytes})"),
        None => text,
    }
}

fn as_json(message: &RemoteMessage) -> Value {
    let text = std::str::from_utf8(&message.payload).ok();
    let properties: Vec<Value> =
        message.user_properties.iter().map(|(name, value)| json!([name, value])).collect();
    json!({
        "topic": String::from_utf8_lossy(&message.topic),
        "payload": text,
        "payload_hex": text.is_none().then(|| hex::encode(&message.payload)),
        "content_type": message.content_type,
        "user_properties": properties,
        "retained": message.is_retained,
        "received_at": message.received_at.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::time::Timestamp;

    fn message(payload: &'static [u8]) -> RemoteMessage {
        RemoteMessage {
            topic: Bytes::from_static(b"public/a"),
            payload: Bytes::from_static(payload),
            cut_from: None,
            content_type: None,
            user_properties: vec![("id".into(), "1".into())],
            correlation: None,
            expires_in: None,
            is_retained: false,
            dup: false,
            received_at: Timestamp::default(),
            ack: None,
        }
    }

    #[test]
    fn a_payload_is_shown_as_text_or_in_hex_and_never_raw() {
        assert_eq!(payload(&message(b"hi\x1b[2J")), "hi\\u{1b}[2J");
        assert_eq!(payload(&message(b"\xff\x00")), "(not UTF-8, in hex) ff00");
        let cut = RemoteMessage { cut_from: Some(900), ..message(b"head") };
        assert_eq!(payload(&cut), "head (the first bytes of 900)");
    }

    #[test]
    fn a_message_is_one_line_for_programs() {
        let line = as_json(&message(b"\xff")).to_string();
        assert!(line.contains(r#""payload_hex":"ff""#) && !line.contains('\n'), "{line}");
        assert!(line.contains(r#""user_properties":[["id","1"]]"#), "{line}");
    }
}
