//! The command line: parses the arguments, runs one command, returns its exit code.
//!
//! In reading order: [`run`] is the daemon; [`health`], [`doctor`], [`config`] and [`migrate`]
//! operate it; [`registry`], [`certificates`] and [`access`] say who may do what; [`quarantine`],
//! [`retention`] and [`explain`] are about messages. Commands print what other modules decide; they
//! hold no rules of their own.

pub mod access;
pub mod certificates;
pub mod config;
pub mod doctor;
pub mod explain;
mod explain_cached;
pub mod health;
pub mod migrate;
pub mod quarantine;
pub mod registry;
pub mod retention;
pub mod run;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::command::failure::{Exit, Failure};
use crate::command::table::OutputFormat;
use crate::config::load::layers;
use crate::config::{Config, Sources};
use crate::telemetry::logs;

/// The telemetry gate beside your Mosquitto: believes, stores, quarantines, and loses nothing.
#[derive(Debug, Parser)]
#[command(
    name = "sluice",
    version,
    propagate_version = true,
    after_help = "Exit codes: 0 done, 1 the answer is no, 64 usage, 69 a dependency is not there, 70 internal, 78 settings.\n\
        Settings come from the environment, from sluice.toml, and from --set; `sluice config template` lists them all."
)]
struct Cli {
    /// Settings file, instead of `$SLUICE_CONFIG` or /etc/sluice/sluice.toml
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one setting, before all other sources; secrets are refused here
    #[arg(long, global = true, value_name = "NAME=VALUE", value_parser = layers::parse_flag)]
    set: Vec<(String, String)>,
    /// How to print what a command found
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORM")]
    output: OutputFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon until SIGTERM
    #[command(
        after_help = "Example: CERT_AUTH_ENABLED=1 DATABASE_URL_FILE=/run/secrets/db sluice run"
    )]
    Run,
    /// Ask the running daemon whether it is ready: 0 yes, 1 no, 69 no answer
    #[command(after_help = "Example: sluice health || sluice health --live")]
    Health(health::HealthArgs),
    /// Bring the database schema up to date and make the partitions
    #[command(after_help = "Example: DATABASE_URL=postgres:///sluice sluice migrate")]
    Migrate,
    /// Show what is past its retention and whether it may be deleted; confirm a round that is held
    #[command(
        after_help = "The daemon deletes by itself, every hour. It is held while its clock and Postgres' differ, and when it would\n\
            advance by many days at once: after a long absence, or under a wrong clock.\n\
            Example: sluice retention --yes"
    )]
    Retention(retention::RetentionArgs),
    /// Print or check the settings
    #[command(subcommand, after_help = "Example: sluice config template > sluice.toml")]
    Config(config::ConfigCommand),
    /// The authority that signs devices: make one, show it, print its bundle
    #[command(
        subcommand,
        after_help = "Example: sluice ca init --cert ca.crt --key ca.key --crl crl.pem"
    )]
    Ca(certificates::ca::CaCommand),
    /// The list of revoked certificates: show it, have it published
    #[command(subcommand, after_help = "Example: sluice crl show")]
    Crl(certificates::crl::CrlCommand),
    /// Who may do what at the broker: ask the policy, look for mistakes in it
    #[command(
        subcommand,
        after_help = "Example: sluice access check --as user:alice --topic plant/1/alerts --action subscribe"
    )]
    Access(access::AccessCommand),
    /// Say of one message what every check says of it
    #[command(after_help = "Example: echo '{\"metrics\":{\"t\":21.5}}' | \
            sluice explain --topic tenant/acme/device/pump-1/telemetry --payload -")]
    Explain(explain::ExplainArgs),
    /// Check settings, daemon, broker and Postgres, and say what to do
    #[command(
        after_help = "Example: sluice doctor --output json\nExit code 0 when no finding is an error, 1 when one is."
    )]
    Doctor,
    /// Tenants: whose devices they are
    #[command(subcommand, after_help = "Example: sluice tenant add acme --name 'Acme Pumps'")]
    Tenant(registry::tenant::TenantCommand),
    /// Devices: who may speak
    #[command(subcommand, after_help = "Example: sluice device add acme pump-1 --site north")]
    Device(registry::device::DeviceCommand),
    /// Certificates: what a device shows to be believed
    #[command(
        subcommand,
        after_help = "Example: sluice cert issue acme pump-1 --csr pump-1.csr --out pump-1.crt"
    )]
    Cert(certificates::CertCommand),
    /// Refused messages, kept and explained
    #[command(subcommand, after_help = "Example: sluice quarantine list --tenant acme --since 2h")]
    Quarantine(quarantine::QuarantineCommand),
    /// Let a simulated fleet publish to a daemon of its own, and show what becomes of it;
    /// scripts/demo prepares all it needs
    #[command(
        after_help = "It registers its fleet in the database the settings name, as tenant sluice-demo, issues a certificate to each device\n\
            (DEVICE_CA_CERT_PATH, DEVICE_CA_KEY_PATH), lets each connect as itself at BROKER_PROBE_ADDR, and revokes one while it\n\
            speaks. MQTT_USERNAME must be allowed to write to tenant/sluice-demo/device/overture/commands.\n\
            Example: ./scripts/demo --seconds 10"
    )]
    Demo(crate::sim::demo::DemoArgs),
    /// Let a simulated fleet publish, and say exactly what of it is missing or doubled in the
    /// tables
    #[command(
        after_help = "It registers its fleet in the database the settings name, in tenants sluice-sim-000 and on, and publishes to the\n\
            broker they name; a daemon runs beside it. Without --tls a few connections of MQTT_USERNAME speak for all devices, and the\n\
            broker's access rules must let them. With --tls each device is a connection of its own, at most 500 of them, with a\n\
            certificate that the registry issues: it takes DEVICE_CA_CERT_PATH, DEVICE_CA_KEY_PATH, BROKER_PROBE_ADDR and\n\
            BROKER_PROBE_CA_CERT, and a daemon with CERT_AUTH_ENABLED=1.\n\
            Examples:\n  \
            sluice simulate --devices 5000 --rate 2000 --seconds 30 --bad 0.01 --verify\n  \
            sluice simulate --tls --devices 100 --rate 200 --seconds 5 --bad 0.05 --verify\n  \
            sluice simulate --disband"
    )]
    Simulate(crate::sim::load::args::SimulateArgs),
}

/// Upper bound for blocking threads that still run when their command has ended.
const BLOCKING_PATIENCE: Duration = Duration::from_millis(500);

/// Parses the command line, runs the command, and returns its exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, not errors. If printing fails, the exit code still says
            // which.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    let exit = match dispatch(cli) {
        Ok(exit) => exit,
        Err(failure) => {
            if !failure.message.is_empty() {
                logs::say(&format!("sluice: {}", failure.message));
            }
            failure.exit
        }
    };
    logs::flush();
    exit.into()
}

fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    let sources = Sources::of_process(cli.config, cli.set);
    if let Command::Config(command) = cli.command {
        return config::run(command, &sources, cli.output).map(|()| Exit::Done);
    }
    let loaded =
        Config::load(&sources).map_err(|errors| Failure::new(Exit::Config, errors.to_string()))?;
    // One thread: the steps of a batch are small, and waking another thread costs more than a step.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
            Failure::new(Exit::Internal, format!("the runtime cannot be started: {error}"))
        })?;
    let (config, output) = (loaded.config, cli.output);
    let result = runtime.block_on(async {
        match cli.command {
            Command::Run => run::run(config).await,
            Command::Health(args) => health::run(args, &config).await,
            Command::Migrate => migrate::run(&config, output).await,
            Command::Retention(args) => retention::run(args, &config, output).await,
            Command::Explain(args) => explain::run(args, &config, output).await,
            Command::Doctor => doctor::run(&config, output).await,
            Command::Tenant(command) => registry::tenant::run(command, &config, output).await,
            Command::Device(command) => registry::device::run(command, &config, output).await,
            Command::Cert(command) => certificates::run(command, &config, output).await,
            Command::Quarantine(command) => quarantine::run(command, &config, output).await,
            Command::Access(command) => access::run(command, &config, output),
            Command::Ca(command) => certificates::ca::run(command, &config, output),
            Command::Crl(command) => certificates::crl::run(command, &config, output).await,
            Command::Demo(args) => crate::sim::demo::run(args, &config, &sources, output).await,
            Command::Simulate(args) => crate::sim::load::run(args, &config, output).await,
            Command::Config(_) => Ok(Exit::Done),
        }
    });
    // A thread blocked on a file system or a name server does not delay the exit.
    runtime.shutdown_timeout(BLOCKING_PATIENCE);
    result
}
