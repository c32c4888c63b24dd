//! `sluice tail`: prints the decisions about messages as a running daemon makes them.
//!
//! It reads the API of the daemon and needs no database. Text of a device reaches the terminal escaped
//! only. It connects again a bounded number of times.

mod events;
mod print;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, value_parser};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};

use super::console::reachable;
use crate::command::failure::{Exit, Failure};
use crate::command::table::{OutputFormat, note};
use crate::config::Config;
use crate::domain::ids::TenantId;
use crate::domain::live::LiveSearch;
use crate::http::ApiFault;
use crate::lifecycle::backoff::Backoff;
use crate::web_request::stream::{OpenedResponse, WebStream};
use crate::web_request::{Authorities, WebError, WebRequest};
use events::{EventReader, TailEvent};
use print::Printer;

/// How long a daemon may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// A stream without an event for so long is broken: the daemon sends a heartbeat every 15 seconds.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// Attempts to connect again, one after the other, before the command ends.
const ATTEMPTS_MAX: u32 = 8;

/// A stream that lasted so long has worked: the attempts are counted again from the first.
const STEADY: Duration = Duration::from_secs(20);

/// The pauses between two attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// The longest problem document that is read, in bytes.
const MAX_PROBLEM: usize = 64 * 1024;

/// The longest file of a token, in bytes.
const MAX_TOKEN: usize = 1024;

/// Which decisions, and of which daemon.
#[derive(Clone, Debug, Args)]
pub struct TailArgs {
    /// Only decisions that a search selects, such as `tenant:acme outcome:refused -pump-7`
    #[arg(long, default_value = "", hide_default_value = true)]
    search: String,
    /// Only decisions about messages of this tenant
    #[arg(long)]
    tenant: Option<TenantId>,
    /// End after this many decisions
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// The address of the daemon's API, instead of that of the settings
    #[arg(long, value_name = "BASE")]
    url: Option<String>,
    /// A file with the token of an operator, instead of the admin token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Why a stream is not read further.
enum TailEnding {
    /// `--count` is reached.
    Counted,
    /// The daemon ended the stream, or the connection broke.
    Broken(String),
}

/// Where the stream is, and by which token.
struct TailSource {
    url: String,
    token: Option<String>,
}

/// Runs until a signal, the count, or the end of the attempts to connect again.
pub async fn run(args: TailArgs, config: &Config, output: OutputFormat) -> Result<Exit, Failure> {
    let (mut interrupt, mut terminate) =
        (on(SignalKind::interrupt())?, on(SignalKind::terminate())?);
    // A search that cannot be read needs no daemon.
    LiveSearch::read(&args.search, args.tenant.clone())
        .map_err(|error| Failure::usage(format!("--search: {error}")))?;
    let source = TailSource::new(&args, config)?;
    let mut printer = Printer::new(output, args.count);
    tokio::select! {
        ended = follow(&source, &mut printer) => ended,
        _ = interrupt.recv() => Ok(Exit::Done),
        _ = terminate.recv() => Ok(Exit::Done),
    }
}

// === impl TailSource ===

impl TailSource {
    fn new(args: &TailArgs, config: &Config) -> Result<Self, Failure> {
        let base = args.url.clone();
        let base = base.unwrap_or_else(|| format!("http://{}", reachable(config.http.api_bind)));
        let mut pairs = Vec::new();
        if !args.search.is_empty() {
            pairs.push(("search", args.search.as_str()));
        }
        if let Some(tenant) = &args.tenant {
            pairs.push(("tenant", tenant.as_str()));
        }
        let query = serde_urlencoded::to_string(pairs).unwrap_or_default();
        let url = format!("{}/api/v1/live?{query}", base.trim_end_matches('/'));
        let own = config.http.admin_token.as_ref().map(|token| token.expose().to_owned());
        let token = args.token_file.as_ref().map_or(Ok(own), |path| read_token(path).map(Some))?;
        Ok(Self { url: url.trim_end_matches('?').to_owned(), token })
    }

    async fn open(&self) -> Result<OpenedResponse, WebError> {
        let bearer = self.token.as_ref().map(|token| format!("Bearer {token}"));
        let headers: Vec<_> =
            bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        let authorities = Authorities { file: None, setting: "the system's roots" };
        let request = WebRequest {
            url: &self.url,
            headers: &headers,
            body: None,
            authorities,
            time_limit: ANSWER_TIME,
            max_bytes: MAX_PROBLEM,
        };
        request.open().await
    }
}

// === private helpers ===

async fn follow(source: &TailSource, printer: &mut Printer) -> Result<Exit, Failure> {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut is_first = true;
    loop {
        let why = match source.open().await {
            Ok(OpenedResponse::Stream(mut stream)) => {
                if !is_first {
                    note!("sluice tail: connected again");
                }
                is_first = false;
                let began = Instant::now();
                let ending = read(&mut stream, printer).await?;
                if began.elapsed() > STEADY {
                    backoff.reset();
                }
                match ending {
                    TailEnding::Counted => return Ok(Exit::Done),
                    TailEnding::Broken(why) => why,
                }
            }
            Ok(OpenedResponse::Other(answer)) => {
                let refused = refused(answer.status(), answer.body());
                // A daemon that starts, or that has all places taken, may answer later.
                if is_first || refused.exit != Exit::Unavailable {
                    return Err(refused);
                }
                refused.message
            }
            Err(error) if is_first => return Err(unreachable_daemon(source, &error)),
            Err(error) => error.to_string(),
        };
        if backoff.failures() >= ATTEMPTS_MAX {
            return Err(Failure::unavailable(format!(
                "the stream of {} ended ({why}), and {ATTEMPTS_MAX} attempts to connect again failed",
                source.url
            )));
        }
        note!("sluice tail: the stream ended ({why}); connecting again");
        sleep(backoff.next_pause()).await;
    }
}

async fn read(stream: &mut WebStream, printer: &mut Printer) -> Result<TailEnding, Failure> {
    let mut reader = EventReader::default();
    let mut ending = "the connection ended".to_owned();
    loop {
        let chunk = match timeout(SILENCE_MAX, stream.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => return Ok(TailEnding::Broken(ending)),
            Ok(Err(error)) => return Ok(TailEnding::Broken(error.to_string())),
            Err(_) => {
                let why = format!("no event for {} s", SILENCE_MAX.as_secs());
                return Ok(TailEnding::Broken(why));
            }
        };
        let Some(events) = reader.read(&chunk) else {
            return Err(Failure::unavailable(
                "the response is no stream of decisions: check --url",
            ));
        };
        for event in events {
            if let TailEvent::End(end) = &event {
                ending.clone_from(&end.detail);
            }
            if printer.print(event)? {
                return Ok(TailEnding::Counted);
            }
        }
    }
}

/// The failure for a response that is no stream. Its text is that of the daemon.
fn refused(status: u16, body: &[u8]) -> Failure {
    let fault: Option<ApiFault> = serde_json::from_slice(body).ok();
    let Some(fault) = fault else {
        let text = format!("the response has status {status} and is none of Sluice: check --url");
        return Failure::unavailable(text);
    };
    let fields = fault.errors.iter().map(|error| format!("; {}: {}", error.field, error.detail));
    let detail = format!("{}{}", fault.detail, fields.collect::<String>());
    match status {
        401 => Failure::new(
            Exit::Config,
            format!("the daemon refused the token: {detail}; set ADMIN_TOKEN, or use --token-file"),
        ),
        503 | 504 => Failure::unavailable(format!("the daemon opened no stream: {detail}")),
        _ => Failure::usage(format!("the daemon opened no stream: {detail}")),
    }
}

fn unreachable_daemon(source: &TailSource, error: &WebError) -> Failure {
    Failure::unavailable(format!(
        "no daemon answers at {}: {error}; start it with `sluice run`, or name its address with --url",
        source.url
    ))
}

pub(super) fn read_token(path: &Path) -> Result<String, Failure> {
    let unusable =
        |why: &str| Failure::new(Exit::Config, format!("--token-file {}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| unusable(&error.to_string()))?;
    let token = text.trim();
    let token = token.strip_prefix("Authorization: Bearer ").unwrap_or(token);
    let is_token = !token.is_empty()
        && token.len() <= MAX_TOKEN
        && token.bytes().all(|byte| byte.is_ascii_graphic());
    if is_token { Ok(token.to_owned()) } else { Err(unusable("it contains no token")) }
}

fn on(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| {
        Failure::new(Exit::Internal, format!("cannot install a signal handler: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_to_do_and_has_its_exit_code() {
        let problem = |status: u16, title: &str| {
            format!(r#"{{"type":"x","title":"{title}","status":{status},"detail":"why"}}"#)
        };
        for (status, exit, says) in [
            (401, Exit::Config, "refused the token: why"),
            (403, Exit::Usage, "opened no stream: why"),
            (400, Exit::Usage, "opened no stream: why"),
            (503, Exit::Unavailable, "opened no stream: why"),
        ] {
            let failure = refused(status, problem(status, "a title").as_bytes());
            assert_eq!(failure.exit, exit, "{status}");
            assert!(failure.message.contains(says), "{}", failure.message);
        }
        assert_eq!(refused(502, b"<html>").exit, Exit::Unavailable);
    }
}
