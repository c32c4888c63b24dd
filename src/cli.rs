//! The command line: parses the arguments, runs one command, returns its exit code.
//!
//! In reading order: [`run`] is the daemon; [`health`], [`doctor`], [`config`] and [`migrate`]
//! operate it, [`drain`] and [`adopt`] end a replica and its session, [`cell`] joins a registry, [`console`] opens its pages, [`audit`] shows who changed what; [`registry`], [`certificates`] and [`access`] say who may do what; [`downlink`]
//! is what goes to devices; [`link`] connects to other brokers; [`quarantine`],
//! [`retention`], [`store`], [`explain`] and [`tail`] are about messages; [`manual`] writes man pages
//! and completions. Commands print what other modules decide; they
//! hold no rules of their own.

pub(crate) mod access;
pub(crate) mod adopt;
pub(crate) mod audit;
pub(crate) mod cell;
pub(crate) mod certificates;
pub(crate) mod config;
pub(crate) mod console;
pub(crate) mod doctor;
pub(crate) mod downlink;
pub(crate) mod drain;
pub(crate) mod explain;
mod explain_cached;
mod explain_link;
pub(crate) mod health;
mod import;
pub(crate) mod link;
pub(crate) mod manual;
pub(crate) mod migrate;
pub(crate) mod quarantine;
pub(crate) mod registry;
pub(crate) mod retention;
pub(crate) mod run;
pub(crate) mod store;
pub(crate) mod tail;
mod version;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgAction, CommandFactory, Parser, Subcommand};

use crate::command::failure::{Exit, Failure};
use crate::command::table::OutputFormat;
use crate::config::load::layers;
use crate::config::{Config, Sources};
use crate::telemetry::logs;

/// The heading of the options that every command has.
const COMMON: &str = "Common options";

/// Reads the telemetry that devices publish to Mosquitto, stores accepted messages in Postgres, and
/// quarantines refused ones
#[derive(Debug, Parser)]
#[command(
    name = "sluice",
    version = version::version(),
    propagate_version = true,
    disable_help_flag = true,
    disable_version_flag = true,
    after_help = "Exit codes: 0 done, 1 the answer is no, 64 usage error, 69 a dependency is unavailable, 70 internal error, \
        78 invalid settings.\n\
        Settings come from the environment, from sluice.toml and from --set. `sluice config template` lists all of them."
)]
struct Cli {
    /// The settings file, instead of `$SLUICE_CONFIG` or /etc/sluice/sluice.toml
    #[arg(long, global = true, value_name = "FILE", help_heading = COMMON)]
    config: Option<PathBuf>,
    /// Set one setting; overrides all other sources. A secret is refused here
    #[arg(
        long,
        global = true,
        value_name = "NAME=VALUE",
        value_parser = layers::parse_flag,
        help_heading = COMMON
    )]
    set: Vec<(String, String)>,
    /// The format of the output
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        help_heading = COMMON
    )]
    output: OutputFormat,
    /// Print help
    #[arg(short, long, global = true, action = ArgAction::Help, help_heading = COMMON)]
    help: Option<bool>,
    /// Print the version
    #[arg(short = 'V', long, global = true, action = ArgAction::Version, help_heading = COMMON)]
    version: Option<bool>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon until SIGTERM
    #[command(
        after_help = "Example:\n  CERT_AUTH_ENABLED=1 DATABASE_URL_FILE=/run/secrets/db sluice run"
    )]
    Run,
    /// Ask the running daemon whether it is ready: exit code 0 yes, 1 no, 69 no answer
    #[command(after_help = "Examples:\n  sluice health\n  sluice health --live")]
    Health(health::HealthArgs),
    /// Let the running daemon leave its share group and end, with nothing left at the broker
    #[command(
        after_help = "The daemon unsubscribes, stores and acknowledges what waits for it, ends its session at the broker, removes its row of \
            broker_sessions, and ends with exit code 0. SIGUSR1 orders the same. Unlike after SIGTERM, the broker keeps nothing for \
            it. After DRAIN_PATIENCE_SECONDS the daemon gives up and subscribes again.\n\n\
            The command uses the API of the daemon with ADMIN_TOKEN or the token of an admin. Exit code 0 when it is drained, 1 when \
            the drain is refused or given up, 69 when no daemon answers, 78 when the token is wrong.\n\n\
            Examples:\n  sluice drain\n  sluice drain --url http://sluice-2:8080 --token-file admin.token --output json"
    )]
    Drain(drain::DrainArgs),
    /// Store what waits at the broker for a replica that is gone, and end its session
    #[command(
        after_help = "A replica of a share group that ends without a drain leaves an orphaned session: the broker keeps its share of the \
            messages for it. The command connects as that replica, does every check, stores the messages, ends the session, and \
            removes the row of broker_sessions. It refuses while the replica was seen within ORPHAN_AFTER_SECONDS, \
            and while no other replica of the group runs: the broker would drop what devices publish next.\n\n\
            Exit code 0 when the session has ended, 1 when its replica runs, another command adopts it or no other replica runs, 64 when the replica is not \
            known or its session is at another broker, 69 when the broker or Postgres is unavailable or the replica came back.\n\n\
            Example:\n  sluice adopt sluice-2"
    )]
    Adopt(adopt::AdoptArgs),
    /// Apply the pending migrations of the database schema and create the partitions
    #[command(after_help = "Example:\n  DATABASE_URL=postgres:///sluice sluice migrate")]
    Migrate,
    /// Show which data is past its retention; with --yes delete it
    #[command(
        after_help = "The daemon deletes old data every hour. It waits while its clock and that of Postgres differ. It also waits when \
            it would delete many days at once, as after a long stop or with a wrong clock: --yes confirms that.\n\n\
            Examples:\n  sluice retention\n  sluice retention --yes"
    )]
    Retention(retention::RetentionArgs),
    /// Show the engine of the database, and spread telemetry over the nodes of Citus or the chunks of
    /// Timescale
    #[command(subcommand, after_help = "Example:\n  sluice store status")]
    Store(store::StoreCommand),
    /// Print or check the settings
    #[command(subcommand, after_help = "Example:\n  sluice config template > sluice.toml")]
    Config(config::ConfigCommand),
    /// Print the completions of a shell
    #[command(after_help = "Example:\n  sluice completion bash > sluice.bash")]
    Completion(manual::CompletionArgs),
    /// Write the man pages: one for each command, and sluice.toml(5)
    #[command(after_help = "Example:\n  sluice man --out man")]
    Man(manual::ManArgs),
    /// Create and show the certificate authority that signs devices' certificates
    #[command(
        subcommand,
        after_help = "Example:\n  sluice ca init --cert ca.crt --key ca.key --crl crl.pem"
    )]
    Ca(certificates::ca::CaCommand),
    /// Make this database a cell of a registry, show the copy, and take it back
    #[command(subcommand, after_help = "Example:\n  sluice cell status")]
    Cell(cell::CellCommand),
    /// Show and publish the list of revoked certificates (CRL)
    #[command(subcommand, after_help = "Example:\n  sluice crl show")]
    Crl(certificates::crl::CrlCommand),
    /// Query the access policy, and find mistakes in it
    #[command(
        subcommand,
        after_help = "Example:\n  sluice access check --as user:alice --topic plant/1/alerts --action subscribe"
    )]
    Access(access::AccessCommand),
    /// Take over the configuration of other programs
    #[command(
        subcommand,
        after_help = "Example:\n  sluice import go-auth /etc/mosquitto/mosquitto.conf"
    )]
    Import(import::ImportCommand),
    /// Show the result of every check on one message
    #[command(
        after_help = "Exit code 0 when the message would be accepted, 1 when it would be refused. Nothing is stored.\n\n\
            Example:\n  echo '{\"metrics\":{\"t\":21.5}}' | \
            sluice explain --topic tenant/acme/device/pump-1/telemetry --payload -"
    )]
    Explain(explain::ExplainArgs),
    /// Check the settings, the daemon, the broker and Postgres, with advice for each problem
    #[command(
        after_help = "Exit code 0 when no finding is an error, 1 when one is.\n\nExample:\n  sluice doctor --output json"
    )]
    Doctor,
    /// Print the decisions about messages as a running daemon makes them, until Ctrl-C
    #[command(
        after_help = "A line stands for the decision of the daemon, which comes before the commit. At most 20 lines a second are shown; the \
            daemon says how many were left out. The keys of a search are tenant, device, type, outcome, reason and topic; a word \
            without a key is a device. A `-` excludes, a `*` at the end matches every end.\n\n\
            The command reads the API of the daemon with ADMIN_TOKEN or the token of an operator. Exit code 0 after Ctrl-C or --count, \
            64 for a search that cannot be read or a role that does not suffice, 69 when no daemon answers or 8 attempts to connect \
            again fail, 78 when the token is wrong.\n\n\
            Examples:\n  sluice tail\n  sluice tail --search 'tenant:acme outcome:refused' --count 10\n  \
            sluice tail --url https://sluice.example.org --token-file alice.token --output json"
    )]
    Tail(tail::TailArgs),
    /// Print a link that signs you in at the console, once, within a minute
    #[command(
        after_help = "The audit log shows you by the name of your user. The link works at every replica.\n\n\
            Examples:\n  sluice console\n  sluice console --role viewer --print-url https://sluice.example.org"
    )]
    Console(console::ConsoleArgs),
    /// Manage operators: who may use the console and the API by name
    #[command(subcommand, after_help = "Example:\n  sluice operator add alice --role operator")]
    Operator(registry::operator::OperatorCommand),
    /// Show who changed what: the audit log
    #[command(subcommand, after_help = "Example:\n  sluice audit list --search since:7d")]
    Audit(audit::AuditCommand),
    /// Manage tenants, the owners of devices
    #[command(subcommand, after_help = "Example:\n  sluice tenant add acme --name 'Acme Pumps'")]
    Tenant(registry::tenant::TenantCommand),
    /// Manage devices and their tokens
    #[command(subcommand, after_help = "Example:\n  sluice device add acme pump-1 --site north")]
    Device(registry::device::DeviceCommand),
    /// Send commands to devices, and follow them
    #[command(
        name = "command",
        subcommand,
        after_help = "Example:\n  sluice command send reboot --device acme/pump-1 --wait 30"
    )]
    Downlink(downlink::command::DeviceCommandCommand),
    /// Show and change what devices should be (their twins): desired and reported documents
    #[command(
        subcommand,
        alias = "twin",
        after_help = "Example:\n  sluice shadow set acme pump-1 '{\"rate\": 5}'"
    )]
    Shadow(downlink::shadow::ShadowCommand),
    /// Make and revoke the codes with which devices get their first certificate
    #[command(subcommand, after_help = "Example:\n  sluice enrol add acme --device pump-1")]
    Enrol(registry::enrol::EnrolCommand),
    /// Issue, renew and revoke devices' certificates
    #[command(
        subcommand,
        after_help = "Example:\n  sluice cert issue acme pump-1 --csr pump-1.csr --out pump-1.crt"
    )]
    Cert(certificates::CertCommand),
    /// Show, replay and discard refused messages
    #[command(
        subcommand,
        after_help = "Example:\n  sluice quarantine list --tenant acme --since 2h"
    )]
    Quarantine(quarantine::QuarantineCommand),
    /// Show, check and try the links to other brokers and clouds
    #[command(subcommand, after_help = "Example:\n  sluice link check azure")]
    Link(link::LinkCommand),
    /// Run a simulated fleet against a daemon of its own, and show each result; `scripts/demo`
    /// starts the servers that it needs
    #[command(
        after_help = "The fleet is registered in the database of the settings, as tenant sluice-demo. Each device gets a certificate \
            (DEVICE_CA_CERT_PATH, DEVICE_CA_KEY_PATH) and connects with it at BROKER_PROBE_ADDR. One certificate is revoked while \
            its device publishes. MQTT_USERNAME must be allowed to write to tenant/sluice-demo/device/marker/commands.\n\n\
            Examples:\n  ./scripts/demo --seconds 10\n  sluice demo --seconds 10 --devices 20"
    )]
    Demo(crate::sim::demo::args::DemoArgs),
    /// Run a simulated fleet against your broker and daemon, and count the messages that are missing
    /// or stored twice
    #[command(
        after_help = "The fleet is registered in the database of the settings, in tenants sluice-sim-000 and following, and publishes to the \
            broker of the settings. The daemon must run. Without --tls a few connections of MQTT_USERNAME publish for all devices: \
            the broker's access rules must allow that. With --tls each device has its own connection and certificate, and there are \
            at most 500. --tls needs DEVICE_CA_CERT_PATH, DEVICE_CA_KEY_PATH, BROKER_PROBE_ADDR and BROKER_PROBE_CA_CERT, and a \
            daemon with CERT_AUTH_ENABLED=1.\n\n\
            Examples:\n  \
            sluice simulate --devices 5000 --rate 2000 --seconds 30 --bad 0.01 --verify\n  \
            sluice simulate --tls --devices 100 --rate 200 --seconds 5 --bad 0.05 --verify\n  \
            sluice simulate --disband"
    )]
    Simulate(crate::sim::load::args::SimulateArgs),
}

/// Upper bound for blocking threads that still run after the end of their command.
const BLOCKING_PATIENCE: Duration = Duration::from_millis(500);

/// The command and all subcommands, for the reference page and for tests. Options that every command
/// has are under the heading [`COMMON`].
pub fn command() -> clap::Command {
    Cli::command()
}

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
                logs::write_line(&format!("sluice: {}", failure.message));
            }
            failure.exit
        }
    };
    logs::flush();
    exit.into()
}

fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    let sources = Sources::of_process(cli.config, cli.set);
    match cli.command {
        Command::Config(command) => {
            return config::run(command, &sources, cli.output).map(|()| Exit::Done);
        }
        Command::Completion(args) => return manual::complete(args, command()).map(|()| Exit::Done),
        Command::Man(args) => return manual::write_pages(&args, command()).map(|()| Exit::Done),
        _ => {}
    }
    let loaded =
        Config::load(&sources).map_err(|errors| Failure::new(Exit::Config, errors.to_string()))?;
    // One thread: the steps of a batch are small, and waking another thread costs more than a step.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
            Failure::new(Exit::Internal, format!("cannot start the runtime: {error}"))
        })?;
    let (config, output) = (loaded.config, cli.output);
    let result = runtime.block_on(async {
        match cli.command {
            Command::Run => Box::pin(run::run(config, loaded.effective)).await,
            Command::Health(args) => health::run(args, &config).await,
            Command::Drain(args) => drain::run(args, &config, output).await,
            Command::Adopt(args) => Box::pin(adopt::run(args, &config, output)).await,
            Command::Migrate => migrate::run(&config, output).await,
            Command::Retention(args) => retention::run(args, &config, output).await,
            Command::Store(command) => store::run(command, &config, output).await,
            Command::Explain(args) => explain::run(args, &config, output).await,
            Command::Doctor => doctor::run(&config, output).await,
            Command::Console(args) => console::run(args, &config, output).await,
            Command::Tail(args) => Box::pin(tail::run(args, &config, output)).await,
            Command::Operator(command) => registry::operator::run(command, &config, output).await,
            Command::Audit(command) => audit::run(command, &config, output).await,
            Command::Tenant(command) => registry::tenant::run(command, &config, output).await,
            Command::Device(command) => registry::device::run(command, &config, output).await,
            Command::Downlink(command) => downlink::command::run(command, &config, output).await,
            Command::Shadow(command) => downlink::shadow::run(command, &config, output).await,
            Command::Enrol(command) => registry::enrol::run(command, &config, output).await,
            Command::Cert(command) => certificates::run(command, &config, output).await,
            Command::Quarantine(command) => {
                Box::pin(quarantine::run(command, &config, output)).await
            }
            Command::Link(command) => Box::pin(link::run(command, &config, output)).await,
            Command::Access(command) => access::run(command, &config, output),
            Command::Import(command) => import::run(command, output),
            Command::Cell(command) => Box::pin(cell::run(command, &config, output)).await,
            Command::Ca(command) => certificates::ca::run(command, &config, output),
            Command::Crl(command) => certificates::crl::run(command, &config, output).await,
            Command::Demo(args) => crate::sim::demo::run(args, &config, &sources, output).await,
            Command::Simulate(args) => crate::sim::load::run(args, &config, output).await,
            Command::Config(_) | Command::Completion(_) | Command::Man(_) => Ok(Exit::Done),
        }
    });
    // A thread blocked on a file system or a name server does not delay the exit.
    runtime.shutdown_timeout(BLOCKING_PATIENCE);
    result
}

#[cfg(test)]
mod tests;
