//! `sluice explain`: the verdict of every check on one message, and why it is accepted or refused.
//!
//! It uses the parser and the judge of `ingest`, and asks the running daemon for its cached grant.
//! It stores nothing.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use serde::Serialize;
use sluice_shared::proof::ShortFingerprint;

use super::explain_cached::{CachedEntryQuery, CachedGrant};
use super::explain_link::LinkMessageArgs;
use crate::clock;
use crate::command::context;
use crate::command::context::check_schema;
use crate::command::failure::{Exit, Failure};
use crate::command::table::{self, OutputFormat};
use crate::config::Config;
use crate::domain::hex;
use crate::domain::message::Delivery;
use crate::domain::publisher::{ProvenPublisher, Publisher};
use crate::ingest::authorize::judge::Authentication;
use crate::ingest::explain::{End, ExplainVerdict, Explanation, explain};
use crate::link::sample::DROPPED;

/// Largest payload read, in bytes: the maximum of an MQTT packet.
const PAYLOAD_MAX: u64 = 268_435_455;

/// Which message to check.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The topic that the message would be published to
    #[arg(long)]
    topic: String,
    /// The file with the message's payload; - reads standard input
    #[arg(long, value_name = "FILE")]
    payload: PathBuf,
    #[command(flatten)]
    publisher: PublisherArgs,
    #[command(flatten)]
    link: LinkMessageArgs,
}

/// Who would publish it.
#[derive(Debug, Args)]
struct PublisherArgs {
    /// The identity at the broker that the message is proven to come from, such as acme/device/pump-1; without it the message
    /// has no proof
    #[arg(long, value_name = "IDENTITY")]
    publisher: Option<String>,
    /// With --publisher: the SHA-256 fingerprint of the certificate that the publisher logged in with
    #[arg(long, value_name = "SHA256", requires = "publisher", value_parser = short_fingerprint)]
    publisher_certificate: Option<ShortFingerprint>,
}

fn short_fingerprint(text: &str) -> Result<ShortFingerprint, String> {
    let digits = text.replace(':', "").to_ascii_lowercase();
    let whole: Option<[u8; 32]> = hex::decode(&digits);
    whole
        .as_ref()
        .map(ShortFingerprint::of)
        .ok_or_else(|| "expected 64 hexadecimal digits".to_owned())
}

#[derive(Debug, Serialize)]
struct ExplanationRow {
    check: &'static str,
    verdict: &'static str,
}

#[derive(Debug, Serialize)]
struct ExplainReply {
    device: Option<String>,
    checks: Vec<ExplanationRow>,
    accepted: bool,
    reason: Option<&'static str>,
    why: String,
    /// The daemon's cached grant; `None` where the sender does not matter.
    daemon: Option<CachedGrant>,
}

/// Explains one message; exits with 1 when it would be refused.
pub async fn run(
    args: ExplainArgs,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let payload = read(&args.payload)?.into();
    let database = context::open_database(config)?;
    check_schema(&database).await?;
    let delivery = match args.link.delivery(config, &database, &args.topic, &payload).await? {
        Some(delivery) => delivery,
        None => of_device(args.topic, payload, args.publisher.publisher()),
    };
    let explained = explain(&database.directory(), &config.ingest, &delivery, clock::now()).await;
    let explanation = explained.map_err(|outage| Failure::unavailable(outage.to_string()))?;
    let daemon = ask_daemon(config, &delivery, &explanation).await;
    let mut answer = ExplainReply::of(&explanation, daemon);
    if delivery.arrival.as_ref().is_some_and(|arrival| arrival.is_ignored) {
        DROPPED.clone_into(&mut answer.why);
    }
    match output {
        OutputFormat::Json => table::json(&answer)?,
        OutputFormat::Table => {
            table::rows(output, &["check", "verdict"], &answer.checks, |row| {
                vec![row.check.to_owned(), row.verdict.to_owned()]
            })?;
            writeln!(io::stdout(), "{}", answer.why)?;
            if let Some(daemon) = &answer.daemon {
                writeln!(io::stdout(), "{}", daemon.says)?;
            }
        }
    }
    Ok(if answer.accepted { Exit::Done } else { Exit::Negative })
}

fn of_device(topic: String, payload: Bytes, publisher: Publisher) -> Delivery {
    Delivery {
        topic: topic.into(),
        payload,
        cut_from: None,
        held_since: clock::now(),
        received_at: clock::now(),
        dup: false,
        redelivered: false,
        maybe_repeated: false,
        ack: None,
        correlation: None,
        publisher,
        replay: None,
        arrival: None,
    }
}

async fn ask_daemon(
    config: &Config,
    delivery: &Delivery,
    explanation: &Explanation,
) -> Option<CachedGrant> {
    let Explanation { device: Some(device), answer: Some(answer), gateway, end, .. } = explanation
    else {
        return None;
    };
    let question = CachedEntryQuery {
        config: &config.ingest,
        delivery,
        answer,
        gateway: gateway.as_ref(),
        end,
    };
    Some(CachedGrant::fetch(config.http.ops_bind, device, &question, clock::now()).await)
}

// === impl PublisherArgs ===

impl PublisherArgs {
    /// The publisher that the daemon would find.
    fn publisher(self) -> Publisher {
        let Some(identity) = self.publisher else { return Publisher::Missing };
        Publisher::Proven(ProvenPublisher {
            identity: identity.into(),
            fingerprint: self.publisher_certificate,
            at: clock::now(),
        })
    }
}

// === impl ExplainReply ===

impl ExplainReply {
    fn of(explanation: &Explanation, daemon: Option<CachedGrant>) -> Self {
        let (accepted, reason, why) = match &explanation.end {
            End::Ignored => {
                (true, None, "ignored: the platform itself publishes on this topic".to_owned())
            }
            End::Accepted(proof) => (true, None, format!("accepted: {}", describe_proof(*proof))),
            End::Refused(refusal) => (
                false,
                Some(refusal.reason.label()),
                format!("refused: {}: {}", refusal.reason, refusal.detail),
            ),
        };
        let checks = explanation.checks.iter();
        let checks = checks
            .map(|check| ExplanationRow {
                check: check.reason.label(),
                verdict: verdict_label(check.verdict),
            })
            .collect();
        Self {
            device: explanation.device.as_ref().map(ToString::to_string),
            checks,
            accepted,
            reason,
            why,
            daemon,
        }
    }
}

fn verdict_label(verdict: ExplainVerdict) -> &'static str {
    match verdict {
        ExplainVerdict::Passed => "passed",
        ExplainVerdict::Refused => "REFUSED",
        ExplainVerdict::NotReached => "not reached",
        ExplainVerdict::NotTried => "not tried",
        ExplainVerdict::NotNeeded => "not needed",
    }
}

fn describe_proof(proof: Authentication) -> &'static str {
    match proof {
        Authentication::Proof(Some(_)) => {
            "the broker's plugin proves that the device published it, with a valid certificate"
        }
        Authentication::Proof(None) => "the broker's plugin proves that the device published it",
        Authentication::Certificate => "the device has a valid certificate",
        Authentication::Token(_) => "the token is the device's own",
        Authentication::Link => "the link is authenticated by its own login",
        Authentication::NotRequired => {
            "no authentication is required (CERT_AUTH_ENABLED=0, REQUIRE_TOKEN=0)"
        }
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, Failure> {
    let mut payload = Vec::new();
    let done = if path.as_os_str() == "-" {
        io::stdin().lock().take(PAYLOAD_MAX).read_to_end(&mut payload)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(PAYLOAD_MAX).read_to_end(&mut payload))
    };
    match done {
        Ok(_) => Ok(payload),
        Err(error) => {
            Err(Failure::usage(format!("cannot read the payload from {}: {error}", path.display())))
        }
    }
}
