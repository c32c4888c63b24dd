//! `sluice drain`: lets a running daemon leave its share group and end, with nothing left at the broker.
//!
//! It orders over the API of the daemon and follows it to its end. It changes nothing itself.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::console::reachable;
use super::tail::read_token;
use crate::command::failure::{Exit, Failure};
use crate::command::table::{OutputFormat, fields};
use crate::config::Config;
use crate::http::{ApiFault, DrainView};
use crate::web_request::{Authorities, WebError, WebRequest, WebResponse};

/// How long the daemon may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// How often the command looks how far the drain is.
const LOOK_PERIOD: Duration = Duration::from_millis(200);

/// How much longer than `DRAIN_PATIENCE_SECONDS` the command waits.
const GRACE: Duration = Duration::from_secs(15);

/// The longest response that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// Which daemon, and how.
#[derive(Clone, Debug, Args)]
pub struct DrainArgs {
    /// Drain also if no other replica of the share group runs; the broker then drops what devices
    /// publish
    #[arg(long)]
    last: bool,
    /// The address of the daemon's API, instead of that of the settings
    #[arg(long, value_name = "BASE")]
    url: Option<String>,
    /// A file with the token of an admin, instead of the admin token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// The API of the daemon.
struct DrainedDaemon {
    url: String,
    bearer: Option<String>,
}

/// Orders the drain and waits for its end: 0 when nothing is left at the broker, 1 when it was refused or
/// given up.
pub async fn run(args: DrainArgs, config: &Config, output: OutputFormat) -> Result<Exit, Failure> {
    let daemon = DrainedDaemon::new(&args, config)?;
    let started_at = Instant::now();
    let body = json!({ "last": args.last }).to_string();
    let mut view = match daemon.send(Some(&body)).await {
        Ok(answer) => read(&answer)?,
        Err(error) => return Err(daemon.unreachable(&error)),
    };
    let shows_progress = std::io::stderr().is_terminal();
    let patience = config.replica.drain_patience + GRACE;
    while !matches!(view.phase.as_str(), "done" | "given_up" | "off") {
        if started_at.elapsed() > patience {
            return Err(Failure::unavailable(format!(
                "the drain of {} did not end within {} s: read its log",
                view.client_id,
                patience.as_secs()
            )));
        }
        sleep(LOOK_PERIOD).await;
        match daemon.send(None).await {
            Ok(answer) => view = read(&answer)?,
            // The daemon ends soon after its session.
            Err(_) if view.phase == "session_ended" => "done".clone_into(&mut view.phase),
            Err(error) => return Err(daemon.unreachable(&error)),
        }
        if shows_progress {
            // A write error is ignored.
            let _ = write!(std::io::stderr(), "\r\x1b[K{}", progress(&view));
        }
    }
    if shows_progress {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    print(&view, started_at.elapsed(), output)?;
    Ok(if view.phase == "done" { Exit::Done } else { Exit::Negative })
}

// === impl DrainedDaemon ===

impl DrainedDaemon {
    fn new(args: &DrainArgs, config: &Config) -> Result<Self, Failure> {
        let base = args.url.clone();
        let base = base.unwrap_or_else(|| format!("http://{}", reachable(config.http.api_bind)));
        let url = format!("{}/api/v1/replica/drain", base.trim_end_matches('/'));
        let own = config.http.admin_token.as_ref().map(|token| token.expose().to_owned());
        let token = args.token_file.as_ref().map_or(Ok(own), |path| read_token(path).map(Some))?;
        Ok(Self { url, bearer: token.map(|token| format!("Bearer {token}")) })
    }

    /// Orders with a body, and looks without.
    async fn send(&self, body: Option<&str>) -> Result<WebResponse, WebError> {
        let bearer = self.bearer.iter().map(|bearer| ("authorization", bearer.as_str()));
        let content = body.iter().map(|_| ("content-type", "application/json"));
        let headers: Vec<_> = bearer.chain(content).collect();
        let request = WebRequest {
            url: &self.url,
            headers: &headers,
            body,
            authorities: Authorities { file: None, setting: "the system's roots" },
            time_limit: ANSWER_TIME,
            max_bytes: MAX_ANSWER,
        };
        request.send().await
    }

    fn unreachable(&self, error: &WebError) -> Failure {
        Failure::unavailable(format!(
            "no daemon answers at {}: {error}; start it with `sluice run`, or name its address with --url",
            self.url
        ))
    }
}

// === private helpers ===

fn read(answer: &WebResponse) -> Result<DrainView, Failure> {
    if answer.status() == 200
        && let Ok(view) = serde_json::from_slice(answer.body())
    {
        return Ok(view);
    }
    let fault: Option<ApiFault> = serde_json::from_slice(answer.body()).ok();
    let Some(fault) = fault else {
        let status = answer.status();
        let text = format!(
            "the response has status {status} and is none of this version of Sluice: check --url"
        );
        return Err(Failure::unavailable(text));
    };
    let detail = fault.detail;
    Err(match answer.status() {
        401 => Failure::new(
            Exit::Config,
            format!("the daemon refused the token: {detail}; set ADMIN_TOKEN, or use --token-file"),
        ),
        409 => Failure::new(Exit::Negative, format!("the drain is refused: {detail}")),
        500.. => Failure::unavailable(format!("the drain is not ordered: {detail}")),
        _ => Failure::usage(format!("the drain is not ordered: {detail}")),
    })
}

fn progress(view: &DrainView) -> String {
    format!(
        "{}: {}, {} messages stored, {} received and not stored",
        view.client_id, view.phase, view.messages, view.unacknowledged
    )
}

fn print(view: &DrainView, took: Duration, output: OutputFormat) -> std::io::Result<()> {
    let is_drained = view.phase == "done";
    let value = json!({
        "client_id": view.client_id,
        "drained": is_drained,
        "messages": view.messages,
        "seconds": took.as_secs_f64(),
        "detail": view.detail,
    });
    let what = if is_drained {
        "drained: nothing of it waits at the broker, and the daemon ends".to_owned()
    } else {
        let why = view.detail.as_deref().unwrap_or("the daemon has started again");
        format!("given up, and a member as before: {why}")
    };
    let lines = [
        ("Replica", view.client_id.clone()),
        ("Result", what),
        ("Messages", view.messages.to_string()),
        ("Seconds", format!("{:.1}", took.as_secs_f64())),
    ];
    fields(output, &value, &lines)
}
