//! `sluice simulate`: a fleet on the wire, at a rate or as fast as the broker takes it, and a check that says exactly what
//! of it is missing or doubled in the tables.
//!
//! It registers its fleet in tenants of its own, `sluice-sim-000` and on. It starts no daemon and no broker.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::operator::{Operator, outage};
use super::output::{self, Output};
use super::simulate_crew::{Board, Crew, Ledger, Pace};
use super::simulate_fleet::{Auth, DEAR_FAULTS, Fleet, MakeUp, TOKEN_FAULTS, USUAL_FAULTS};
use super::simulate_payload::{Profile, Speech};
use super::simulate_screen::{Progress, Summary, per_second};
use super::simulate_verify::{self, Findings, Sent};
use super::{Exit, Failure};
use crate::broker::encoded::Volley;
use crate::broker::trouble::Trouble;
use crate::clock;
use crate::config::Config;
use crate::config::broker::{BrokerConfig, BrokerTls};
use crate::domain::time::{MICROS_PER_SECOND, Timestamp};
use crate::domain::verdict::Reason;
use crate::lifecycle::Tasks;
use crate::store::fleet;
use crate::store::readback::Readback;

/// How often the progress is drawn.
const REDRAW: Duration = Duration::from_secs(1);

/// Numbers there are for each second of a run: its first number is the time it begins, in nanoseconds, so two runs never
/// share one.
const NUMBERS_PER_SECOND: i64 = 1_000_000_000;

/// Of which a connection has so many, far more than it can send, ...
const NUMBERS_PER_CONNECTION: i64 = 3_000_000;

/// ... so there are at most half as many connections as would fit: each has numbers for its misbehaving devices too.
const CONNECTIONS_MAX: u16 = 64;

/// How large the fleet is, how it publishes, and what is looked at afterwards.
#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct SimulateArgs {
    /// Devices that behave
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    devices: u32,
    /// Tenants they belong to: sluice-sim-000 and on
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    tenants: u16,
    /// Messages a second, of all devices together; 0: as many as the broker takes
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    rate: u32,
    /// Publish for so many seconds
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// Stop after so many messages, when that is earlier
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    messages: Option<u64>,
    /// The QoS they publish at
    #[arg(long, value_name = "0|1", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    qos: u8,
    /// Connections they share
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=i64::from(CONNECTIONS_MAX)))]
    connections: u16,
    /// QoS 1 messages of a connection that wait for their PUBACK at once
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..))]
    window: u16,
    /// Speak TLS even if `MQTT_TLS` is off; the settings beside it tell how when it is on
    #[arg(long)]
    tls: bool,
    /// How devices prove who they are
    #[arg(long, value_enum, value_name = "HOW", default_value = "token")]
    auth: Auth,
    /// Leave the registry as it is: an earlier run with the same fleet has registered it; not with tokens, which each run makes anew
    #[arg(long)]
    keep: bool,
    /// What devices measure; all kinds in turn when not given
    #[arg(long, value_enum, value_name = "PROFILE")]
    profile: Option<Profile>,
    /// The share of messages that must be refused, 0 to 1
    #[arg(long, value_name = "FRACTION", default_value_t = 0.0, value_parser = read_fraction)]
    bad: f64,
    /// Why they must be refused, as quarantine names it; when not given, all reasons that cost the broker no more than a good message
    #[arg(long, value_name = "REASON,..", value_delimiter = ',', value_parser = read_reason)]
    reasons: Vec<Reason>,
    /// Send each second's messages at once
    #[arg(long)]
    burst: bool,
    /// Read the tables back afterwards, and fail when a message is missing or doubled
    #[arg(long)]
    verify: bool,
    /// With --verify: publish nothing, and look for what this summary of an earlier run says (a file that --json wrote)
    #[arg(long, value_name = "FILE", requires = "verify")]
    of: Option<PathBuf>,
    /// Print the summary as JSON; the same as --output json
    #[arg(long)]
    json: bool,
}

/// Publishes, or looks for what was published; what is missing makes it fail.
pub async fn run(args: SimulateArgs, config: &Config, output: Output) -> Result<Exit, Failure> {
    let output = if args.json { Output::Json } else { output };
    let operator = Operator::open(config)?;
    let exit = match &args.of {
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .map_err(|error| Failure::usage(format!("{} cannot be read: {error}", file.display())))?;
            let earlier: Summary = serde_json::from_str(&text)
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

async fn simulate(args: &SimulateArgs, config: &Config, operator: &Operator, output: Output) -> Result<Exit, Failure> {
    let fleet = Fleet::new(args.make_up(config)?, secret()?);
    if !args.keep {
        let registrations = fleet.registrations();
        let enrolled = fleet::enroll(operator.database.pool(), &operator.actor, &registrations, clock::now().to_utc());
        enrolled.await.map_err(|error| outage(&error))?;
    }
    let tenants = fleet.tenants();
    let mut readback = Readback::open(&operator.database).await.map_err(|error| outage(&error))?;
    let quarantined_before = readback.refusals(&tenants).await.map_err(|error| outage(&error))?;
    readback.close().await;

    let (began, board) = (clock::now(), Board::default());
    let crews = crews(args, config, &fleet, began, &board).await?;
    let (span, ledgers) = publish(args, crews, &board, output).await?;
    let messages = sent(began, tenants, &ledgers, quarantined_before);
    let mut summary = Summary {
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

/// Connects all crews, each with its share of the fleet.
async fn crews(
    args: &SimulateArgs,
    config: &Config,
    fleet: &Fleet,
    began: Timestamp,
    board: &Board,
) -> Result<Vec<Crew>, Failure> {
    let connections = usize::from(args.connections).min(args.devices as usize);
    let (mut good, mut bad) = (vec![Vec::new(); connections], vec![Vec::new(); connections]);
    let speech = |member: &_| -> Result<Speech, Failure> { fleet.speaker(member).speech(began).map_err(broken) };
    for (number, member) in fleet.good().enumerate() {
        good[number % connections].push(speech(&member)?);
    }
    for member in fleet.bad() {
        let Some(fault) = member.fault() else { continue };
        // Each connection speaks for each of them: there is one of a kind, and all have their share of nonsense.
        for squad in &mut bad {
            squad.push((fault, speech(&member)?));
        }
    }
    let broker = args.broker(config);
    let numbers = NUMBERS_PER_CONNECTION * i64::from(args.seconds + 1);
    let mut first = began.micros() * (NUMBERS_PER_SECOND / MICROS_PER_SECOND);
    let mut crews = Vec::new();
    for (number, (good, bad)) in good.into_iter().zip(bad).enumerate() {
        let config = BrokerConfig { client_id: format!("{}-sim-{number}", broker.client_id), ..broker.clone() };
        let at_least_once = args.qos == 1;
        let volley = Volley::connect(&config, args.window, at_least_once).await.map_err(broken)?;
        let (pace, board) = (args.pace(number, connections), board.clone());
        crews.push(Crew { volley, good, bad, pace, first, first_bad: first + numbers, at_least_once, board });
        first += 2 * numbers;
    }
    Ok(crews)
}

/// Lets all crews work and draws the progress; how long it took.
async fn publish(
    args: &SimulateArgs,
    crews: Vec<Crew>,
    board: &Board,
    output: Output,
) -> Result<(Duration, Vec<Ledger>), Failure> {
    let (stop, mut tasks) = (CancellationToken::new(), Tasks::default());
    let (ledgers_in, mut ledgers) = mpsc::channel(usize::from(CONNECTIONS_MAX));
    let (wanted, started) = (crews.len(), Instant::now());
    for crew in crews {
        tasks.spawn("crew", crew.work(stop.clone(), ledgers_in.clone()));
    }
    drop(ledgers_in);
    let mut progress = (output == Output::Table).then(|| Progress::new(Duration::from_secs(args.seconds.into())));
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
    fn make_up(&self, config: &Config) -> Result<MakeUp, Failure> {
        if self.keep && self.auth == Auth::Token {
            return Err(Failure::usage(
                "--keep does not go with --auth token: tokens are made anew by each run, and the registry must learn of them",
            ));
        }
        let mut faults = self.reasons.clone();
        if faults.is_empty() && self.bad > 0.0 {
            faults.extend(USUAL_FAULTS);
            faults.extend(TOKEN_FAULTS.iter().filter(|_| self.auth == Auth::Token));
        }
        if let Some(fault) = faults.iter().find(|fault| TOKEN_FAULTS.contains(fault) && self.auth != Auth::Token) {
            return Err(Failure::usage(format!("{fault} can only be provoked with --auth token")));
        }
        Ok(MakeUp {
            devices: self.devices as usize,
            tenants: usize::from(self.tenants),
            profile: self.profile,
            auth: self.auth,
            faults,
            largest: config.ingest.max_payload_bytes,
            at_least_once: self.qos == 1,
        })
    }

    fn broker(&self, config: &Config) -> BrokerConfig {
        let mut broker = config.broker.clone();
        if self.tls {
            broker.tls.get_or_insert(BrokerTls { ca_cert: None, identity: None });
        }
        broker
    }

    /// A connection's share of what all have to send.
    fn pace(&self, number: usize, connections: usize) -> Pace {
        let share = f64::from(self.rate) / f64::from(u32::try_from(connections).unwrap_or(u32::MAX));
        let messages = self.messages.map(|all| {
            let (each, rest) = (all / connections as u64, all % connections as u64);
            each + u64::from((number as u64) < rest)
        });
        Pace {
            per_second: (self.rate > 0).then_some(share),
            burst: self.burst,
            bad: self.bad,
            messages,
            span: Duration::from_secs(self.seconds.into()),
        }
    }
}

// === private helpers ===

/// What must be in the tables, of all connections.
fn sent(began: Timestamp, tenants: Vec<String>, ledgers: &[Ledger], quarantined_before: BTreeMap<String, i64>) -> Sent {
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

async fn look(operator: &Operator, sent: &Sent) -> Result<Findings, Failure> {
    let mut readback = Readback::open(&operator.database).await.map_err(|error| outage(&error))?;
    let findings = simulate_verify::verify(&mut readback, sent).await.map_err(|error| outage(&error))?;
    readback.close().await;
    Ok(findings)
}

fn tell<T: serde::Serialize>(output: Output, value: &T, lines: &[String]) -> io::Result<()> {
    match output {
        Output::Json => output::json(value),
        Output::Table => writeln!(io::stdout(), "{}", lines.join("\n")),
    }
}

fn exit_of(findings: &Findings) -> Exit {
    if findings.complete { Exit::Done } else { Exit::Negative }
}

fn secret() -> Result<[u8; 32], Failure> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)
        .map(|()| secret)
        .map_err(|error| Failure::new(Exit::Internal, format!("the system gave no randomness for tokens: {error}")))
}

#[expect(clippy::needless_pass_by_value, reason = "it stands where map_err wants a function of the value")]
fn broken(trouble: Trouble) -> Failure {
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
