//! `sluice simulate`: a fleet on the wire, at a rate or as fast as the broker takes it, and a check that says exactly what
//! of it is missing or doubled in the tables.
//!
//! It registers its fleet in tenants of its own, `sluice-sim-000` and on. It starts no daemon and no broker. Which device speaks
//! on which connection is for [`assignment`](self::assignment).

pub mod assignment;
pub mod connection;
pub mod histogram;
pub mod screen;
pub mod verify;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::fleet::certificates::{CertificateFolder, DeviceCertificate};
use super::fleet::device_listener::DeviceListener;
use super::fleet::load_fleet::{
    Auth, DEAR_FAULTS, LoadFleet, LoadFleetSpec, TENANT_PREFIX, TENANTS, TOKEN_FAULTS, USUAL_FAULTS,
};
use super::fleet::payload::PayloadProfile;
use super::wait_for_crl::CrlWatch;
use crate::broker::error::BrokerError;
use crate::clock;
use crate::command::context::{CommandContext, outage, printed};
use crate::command::failure::{Exit, Failure};
use crate::command::table::{self, OutputFormat};
use crate::config::Config;
use crate::domain::ids::{IdError, TenantId};
use crate::domain::refusal::Reason;
use crate::domain::time::Timestamp;
use crate::lifecycle::Tasks;
use crate::registry::ActionContext;
use crate::store::reads::simulation_readback::Readback;
use crate::store::registry::bulk_enroll;
use connection::{LoadConnection, SentNumbers, SharedFigures};
use screen::{LoadProgress, LoadSummary, per_second};
use verify::{Sent, VerifyFindings};

/// How often the progress is drawn.
const REDRAW: Duration = Duration::from_secs(1);

/// Connections of a shared kind; more of them help no broker.
const CONNECTIONS_MAX: u16 = 64;

/// Without --devices.
const DEVICES: u32 = 1000;

/// The same with --tls.
const TLS_DEVICES: u32 = 100;

/// With --tls, each device is a connection of its own, and an ordinary process, the broker too, may have 1024 files open.
const TLS_DEVICES_MAX: u32 = 500;

/// How large the fleet is, how it publishes, and what is looked at afterwards.
#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct SimulateArgs {
    /// Devices that behave; 1000 when not given, with --tls 100, and at most 500
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    devices: Option<u32>,
    /// Tenants they belong to: sluice-sim-000 and on
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    tenants: u16,
    /// Messages a second, of all devices together; 0: as many as the broker takes
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(super) rate: u32,
    /// Publish for so many seconds
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(super) seconds: u32,
    /// Stop after so many messages, when that is earlier
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) messages: Option<u64>,
    /// The QoS they publish at
    #[arg(long, value_name = "0|1", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    pub(super) qos: u8,
    /// Connections they share; with --tls each device has its own
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=i64::from(CONNECTIONS_MAX)))]
    pub(super) connections: u16,
    /// QoS 1 messages of a connection that wait for their PUBACK at once
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) window: u16,
    /// Each device connects by TLS as itself, with a certificate that the registry issues, at `BROKER_PROBE_ADDR`
    #[arg(long)]
    tls: bool,
    /// With --tls: where the devices' certificates and keys are kept, for the next run too
    #[arg(long, value_name = "DIR", default_value = "sluice-simulate")]
    certificates: PathBuf,
    /// How devices prove who they are; token when not given, with --tls certificate, and nothing else
    #[arg(long, value_enum, value_name = "HOW")]
    auth: Option<Auth>,
    /// Leave the registry as it is: an earlier run with the same fleet has registered it; not with tokens, which each run makes anew
    #[arg(long)]
    keep: bool,
    /// What devices measure; all kinds in turn when not given
    #[arg(long, value_enum, value_name = "PROFILE")]
    profile: Option<PayloadProfile>,
    /// The share of messages that must be refused, 0 to 1
    #[arg(long, value_name = "FRACTION", default_value_t = 0.0, value_parser = read_fraction)]
    pub(super) bad: f64,
    /// Why they must be refused, as quarantine names it; when not given, all reasons that cost the broker no more than a good message
    #[arg(long, value_name = "REASON,..", value_delimiter = ',', value_parser = read_reason)]
    reasons: Vec<Reason>,
    /// Send each second's messages at once
    #[arg(long)]
    pub(super) burst: bool,
    /// Read the tables back afterwards, and fail when a message is missing or doubled
    #[arg(long)]
    verify: bool,
    /// With --verify: publish nothing, and look for what this summary of an earlier run says (a file that --json wrote)
    #[arg(long, value_name = "FILE", requires = "verify")]
    of: Option<PathBuf>,
    /// Publish nothing: remove all tenants sluice-sim-..., with their devices, and revoke their certificates; what they sent stays
    #[arg(long, conflicts_with = "verify")]
    disband: bool,
    /// Print the summary as JSON; the same as --output json
    #[arg(long)]
    json: bool,
}

/// Publishes, or looks for what was published; what is missing makes it fail.
pub async fn run(args: SimulateArgs, config: &Config, output: OutputFormat) -> Result<Exit, Failure> {
    let output = if args.json { OutputFormat::Json } else { output };
    let operator = CommandContext::open(config).await?;
    let exit = match &args.of {
        _ if args.disband => disband(&operator, output).await?,
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .map_err(|error| Failure::usage(format!("{} cannot be read: {error}", file.display())))?;
            let earlier: LoadSummary = serde_json::from_str(&text)
                .map_err(|error| Failure::usage(format!("{} is no summary of a run: {error}", file.display())))?;
            let findings = look(&operator, &earlier.messages).await?;
            tell(output, &findings, &findings.lines())?;
            exit_of(&findings)
        }
        None => simulate(&args, config, &operator, output).await?,
    };
    operator.database.close().await;
    Ok(exit)
}

async fn simulate(
    args: &SimulateArgs,
    config: &Config,
    operator: &CommandContext,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let fleet = LoadFleet::new(args.make_up(config)?, secret()?);
    if !args.keep {
        let registrations = fleet.registrations();
        let enrolled =
            bulk_enroll::enroll(operator.database.pool(), &operator.actor, &registrations, clock::now().to_utc());
        enrolled.await.map_err(|error| outage(&error))?;
    }
    let papers = if args.tls { Some(issue(args, config, operator, &fleet).await?) } else { None };
    let tenants = fleet.tenants();
    let mut readback = Readback::open(&operator.database).await.map_err(|error| outage(&error))?;
    let quarantined_before = readback.refusals(&tenants).await.map_err(|error| outage(&error))?;
    readback.close().await;

    let (began, board) = (clock::now(), SharedFigures::default());
    let seats = match &papers {
        Some(papers) => assignment::own(args, &DeviceListener::of(config)?, &fleet, papers, began)?,
        None => assignment::shared(args, &config.broker, &fleet, began)?,
    };
    let crews = assignment::connect(args, seats, began, &board).await?;
    let (span, ledgers) = publish(args, crews, &board, output).await?;
    let messages = sent(began, tenants, &ledgers, quarantined_before);
    let mut summary = LoadSummary {
        seconds: span.as_secs_f64(),
        sent: board.sent(),
        rate: per_second(board.sent(), span),
        acknowledged: board.acknowledged(),
        unheard: board.unheard(),
        refused: board.refused(),
        latency: board.latency().quantiles(),
        messages,
        findings: None,
    };
    if args.verify {
        summary.findings = Some(look(operator, &summary.messages).await?);
    }
    tell(output, &summary, &summary.lines())?;
    Ok(summary.findings.as_ref().map_or(Exit::Done, exit_of))
}

/// A certificate for each device of the fleet, those that misbehave included.
async fn issue(
    args: &SimulateArgs,
    config: &Config,
    operator: &CommandContext,
    fleet: &LoadFleet,
) -> Result<Vec<DeviceCertificate>, Failure> {
    let internal = |error: IdError| Failure::new(Exit::Internal, error.to_string());
    let tenants: Result<Vec<TenantId>, _> = fleet.tenants().iter().map(|tenant| tenant.parse()).collect();
    let desk = ActionContext { database: &operator.database, actor: &operator.actor, now: clock::now() };
    let mut wallet = CertificateFolder::open(&args.certificates, &tenants.map_err(internal)?, config, desk).await?;
    let mut papers = Vec::new();
    for member in fleet.good().chain(fleet.bad()) {
        let device = member.key().map_err(internal)?;
        papers.push(if member.is_stray() {
            wallet.stray_papers(&device, desk.now)?
        } else {
            wallet.papers(&device, desk).await?
        });
    }
    // After --disband, say: its takeovers would reach the new fleet.
    CrlWatch::open(&operator.database, wallet.issuer()).await?.wait_settled(TENANT_PREFIX).await?;
    Ok(papers)
}

async fn disband(operator: &CommandContext, output: OutputFormat) -> Result<Exit, Failure> {
    let gone = bulk_enroll::disband(operator.database.pool(), &operator.actor, TENANTS)
        .await
        .map_err(|error| outage(&error))?;
    let lines = [
        ("Tenants removed", gone.tenants.to_string()),
        ("Devices removed", gone.devices.to_string()),
        ("Certificates revoked", gone.certificates_revoked.to_string()),
    ];
    printed(table::fields(output, &gone, &lines))
}

/// Lets all crews work and draws the progress; how long it took.
async fn publish(
    args: &SimulateArgs,
    crews: Vec<LoadConnection>,
    board: &SharedFigures,
    output: OutputFormat,
) -> Result<(Duration, Vec<SentNumbers>), Failure> {
    let (stop, mut tasks) = (CancellationToken::new(), Tasks::default());
    let (ledgers_in, mut ledgers) = mpsc::channel(usize::from(CONNECTIONS_MAX));
    let (wanted, started) = (crews.len(), Instant::now());
    for crew in crews {
        tasks.spawn("crew", crew.work(stop.clone(), ledgers_in.clone()));
    }
    drop(ledgers_in);
    let mut progress =
        (output == OutputFormat::Table).then(|| LoadProgress::new(Duration::from_secs(args.seconds.into())));
    let mut ticks = tokio::time::interval(REDRAW);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut done = Vec::new();
    while done.len() < wanted {
        tokio::select! {
            ledger = ledgers.recv() => match ledger {
                Some(Ok(ledger)) => done.push(ledger),
                Some(Err(trouble)) => return Err(broken(trouble)),
                None => return Err(Failure::new(Exit::Internal, "a connection of the fleet ended without a word")),
            },
            _ = ticks.tick() => if let Some(progress) = &mut progress {
                progress.draw(started.elapsed(), board);
            },
            // The first Ctrl-C ends it in order. Where signals cannot be heard, the time ends it.
            Ok(()) = tokio::signal::ctrl_c(), if !stop.is_cancelled() => stop.cancel(),
        }
    }
    if let Some(progress) = &mut progress {
        progress.draw(started.elapsed(), board);
        progress.end();
    }
    Ok((started.elapsed(), done))
}

// === impl SimulateArgs ===

impl SimulateArgs {
    fn make_up(&self, config: &Config) -> Result<LoadFleetSpec, Failure> {
        let auth = self.auth()?;
        if self.keep && auth == Auth::Token {
            return Err(Failure::usage(
                "--keep does not go with --auth token: tokens are made anew by each run, and the registry must learn of them",
            ));
        }
        let devices = self.devices.unwrap_or(if self.tls { TLS_DEVICES } else { DEVICES });
        if self.tls && devices > TLS_DEVICES_MAX {
            return Err(Failure::usage(format!(
                "--tls gives each device a connection of its own, and takes at most {TLS_DEVICES_MAX} --devices, not {devices}"
            )));
        }
        if self.tls && self.rate == 0 && self.bad > 0.0 && self.messages.is_none() {
            return Err(Failure::usage(
                "--tls with --bad and --rate 0 needs --messages: with a connection each, devices have no pace to share",
            ));
        }
        let mut faults = self.reasons.clone();
        if faults.is_empty() && self.bad > 0.0 {
            faults.extend(USUAL_FAULTS);
            faults.extend(TOKEN_FAULTS.iter().filter(|_| auth == Auth::Token));
        }
        if let Some(fault) = faults.iter().find(|fault| TOKEN_FAULTS.contains(fault) && auth != Auth::Token) {
            return Err(Failure::usage(format!("{fault} can only be provoked with --auth token")));
        }
        Ok(LoadFleetSpec {
            devices: devices as usize,
            tenants: usize::from(self.tenants),
            profile: self.profile,
            auth,
            is_issued: self.tls,
            faults,
            largest: config.ingest.max_payload_bytes,
            at_least_once: self.qos == 1,
        })
    }

    fn auth(&self) -> Result<Auth, Failure> {
        match (self.tls, self.auth) {
            (false, auth) => Ok(auth.unwrap_or(Auth::Token)),
            (true, None | Some(Auth::Certificate)) => Ok(Auth::Certificate),
            (true, Some(Auth::Token | Auth::None)) => {
                Err(Failure::usage("--tls proves devices by their certificates: leave --auth out"))
            }
        }
    }
}

// === private helpers ===

/// What must be in the tables, of all connections.
fn sent(
    began: Timestamp,
    tenants: Vec<String>,
    ledgers: &[SentNumbers],
    quarantined_before: BTreeMap<String, i64>,
) -> Sent {
    let mut bad = BTreeMap::new();
    for (reason, count) in ledgers.iter().flat_map(|ledger| &ledger.bad) {
        *bad.entry(reason.label().to_owned()).or_insert(0) += count.cast_signed();
    }
    let spoke = ledgers.iter().filter(|ledger| ledger.good > 0);
    let mut numbers: Vec<_> =
        spoke.map(|ledger| (ledger.first, ledger.first + ledger.good.cast_signed() - 1)).collect();
    numbers.sort_unstable();
    let refused = ledgers.iter().flat_map(|ledger| ledger.refused.iter().copied()).collect();
    Sent { began_us: began.micros(), tenants, numbers, refused, bad, quarantined_before }
}

async fn look(operator: &CommandContext, sent: &Sent) -> Result<VerifyFindings, Failure> {
    let mut readback = Readback::open(&operator.database).await.map_err(|error| outage(&error))?;
    let findings = verify::verify(&mut readback, sent).await.map_err(|error| outage(&error))?;
    readback.close().await;
    Ok(findings)
}

fn tell<T: serde::Serialize>(output: OutputFormat, value: &T, lines: &[String]) -> io::Result<()> {
    match output {
        OutputFormat::Json => table::json(value),
        OutputFormat::Table => writeln!(io::stdout(), "{}", lines.join("\n")),
    }
}

fn exit_of(findings: &VerifyFindings) -> Exit {
    if findings.complete { Exit::Done } else { Exit::Negative }
}

fn secret() -> Result<[u8; 32], Failure> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)
        .map(|()| secret)
        .map_err(|error| Failure::new(Exit::Internal, format!("the system gave no randomness for tokens: {error}")))
}

#[expect(clippy::needless_pass_by_value, reason = "it stands where map_err wants a function of the value")]
fn broken(trouble: BrokerError) -> Failure {
    Failure::unavailable(trouble.to_string())
}

fn read_fraction(text: &str) -> Result<f64, &'static str> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or("expected a number from 0 to 1")
}

fn read_reason(text: &str) -> Result<Reason, String> {
    let known: Vec<_> = [&USUAL_FAULTS[..], &TOKEN_FAULTS, &DEAR_FAULTS].concat();
    let found = Reason::from_label(&text.to_ascii_uppercase()).filter(|reason| known.contains(reason));
    found.ok_or_else(|| {
        format!("expected one of {}", known.iter().map(|reason| reason.label()).collect::<Vec<_>>().join(", "))
    })
}
