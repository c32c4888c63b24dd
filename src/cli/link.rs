//! `sluice link`: the links to other brokers and clouds, as an operator works with them.
//!
//! In reading order: [`check_file`] checks the links file; [`status`] shows what the daemon reports; [`check`], [`listen`], [`send`],
//! [`broadcast_demo`] and [`presign`] connect or sign with the links file alone ([`named`] reads it, and
//! [`client`] connects); [`refused`], [`refill`] and [`forget`] work on what waits in Postgres. No command forwards
//! a message of a device: the daemon does.

pub(crate) mod broadcast_demo;
pub(crate) mod check;
pub(crate) mod check_file;
pub(crate) mod client;
pub(crate) mod forget;
pub(crate) mod listen;
pub(crate) mod named;
pub(crate) mod presign;
pub(crate) mod refill;
pub(crate) mod refused;
pub(crate) mod refused_filter;
pub(crate) mod send;
pub(crate) mod status;

use clap::Subcommand;

use crate::command::failure::{Exit, Failure};
use crate::command::table::OutputFormat;
use crate::config::Config;
use crate::domain::link::LinkName;
use broadcast_demo::BroadcastDemoArgs;
use check::LinkCheckArgs;
use check_file::CheckFileArgs;
use forget::ForgetArgs;
use listen::ListenArgs;
use presign::PresignArgs;
use refill::RefillArgs;
use refused::RefusedCommand;
use send::LinkSendArgs;

/// Show, check and try the links to other brokers and clouds.
#[derive(Clone, Debug, Subcommand)]
pub enum LinkCommand {
    /// List the links with their state and what waits for them
    #[command(after_help = "Examples:\n  sluice link list\n  sluice link list --output json")]
    List,
    /// Show a link: its lanes, what waits for it, the gap, and the last refusal with advice
    #[command(
        after_help = "Without a name all links are shown. Exit code 1 when a link that is shown is not up.\n\n\
            Examples:\n  sluice link status\n  sluice link status azure"
    )]
    Status {
        /// The link
        name: Option<LinkName>,
    },
    /// Check the links file and the files that it names, without a connection
    #[command(
        name = "check-file",
        after_help = "Exit code 0 when the file is valid, 78 when not; then every fault is printed, each with its place.\n\n\
            Examples:\n  sluice link check-file\n  sluice link check-file links.toml --output json"
    )]
    CheckFile(CheckFileArgs),
    /// Find out step by step why a link does not hold
    #[command(after_help = CHECK_HELP)]
    Check(LinkCheckArgs),
    /// Print the messages of topics at the other broker
    #[command(
        after_help = "The session ends with the command: the other broker keeps no message for it. \
            Ctrl-C ends the command with exit code 0.\n\n\
            Examples:\n  sluice link listen aws public/broadcast\n  \
            sluice link listen azure 'devices/+/messages/events' --count 10"
    )]
    Listen(ListenArgs),
    /// Publish a text at the other broker
    #[command(
        after_help = "Exit code 0 when the other broker has acknowledged the message, else 1 with the cause. The message takes \
            no part in forwarding.\n\n\
            Examples:\n  sluice link send aws public/broadcast 'Hello, World!'\n  \
            sluice link send azure devices/gate-1/messages/events '{\"t\":21.5}' --content-type application/json"
    )]
    Send(LinkSendArgs),
    /// Send one message to several listeners, and print who received it
    #[command(
        name = "broadcast-demo",
        after_help = "Exit code 1 when a listener did not receive the message.\n\n\
            Examples:\n  sluice link broadcast-demo aws\n  \
            sluice link broadcast-demo azure --topic devices/gate-1/broadcast --text 'to all'"
    )]
    BroadcastDemo(BroadcastDemoArgs),
    /// Print the signed URL of a link that logs in as a guest or with keys of AWS
    #[command(
        after_help = "Without --reveal the signature and the session token are masked. Any program that has the whole URL can \
            connect with it for some minutes.\n\n\
            Examples:\n  sluice link presign aws\n  sluice link presign aws --reveal"
    )]
    Presign(PresignArgs),
    /// Show, retry and discard the messages that links refused
    #[command(subcommand, after_help = "Example:\n  sluice link refused list --link azure")]
    Refused(RefusedCommand),
    /// Queue the stored messages of a period again
    #[command(
        after_help = "The messages that the rules of the link select are sent once more, with the same identifiers: a receiver \
            recognizes them. Messages that came over a link are left out.\n\n\
            Examples:\n  sluice link refill azure --since 2h --dry-run\n  sluice link refill azure --since 2h\n  \
            sluice link refill azure --since 2026-11-21T06:00:00Z --until 2026-11-21T07:00:00Z"
    )]
    Refill(RefillArgs),
    /// Delete all that belongs to a link that is no longer in the links file
    #[command(
        after_help = "Deleted are the messages that wait for the link, its dead letters, its gap, and what its lanes reported. \
            Telemetry rows stay. A link that is in the links file, or that a daemon still has, is refused. Without --yes the \
            command only counts.\n\n\
            Examples:\n  sluice link forget azure\n  sluice link forget azure --yes"
    )]
    Forget(ForgetArgs),
}

const CHECK_HELP: &str = "Sixteen steps, from the links file to a renewed login; each is pass, warn, fail or skipped, with what to \
    do. A step that cannot be made stops no later one that can. The daemon may run: the check uses a client id of its own. \
    Exit code 0 when no step failed, 1 when one did.\n\n\
    Examples:\n  sluice link check azure\n  \
    sluice link check azure --publish devices/gate-1/messages/events --certificate issuer.crt\n  \
    sluice link check azure --try-audiences --output json";

/// Runs the command.
pub async fn run(
    command: LinkCommand,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    match command {
        LinkCommand::List => status::list(config, output).await,
        LinkCommand::Status { name } => status::show(name.as_ref(), config, output).await,
        LinkCommand::CheckFile(args) => check_file::run(args, config, output).await,
        LinkCommand::Check(args) => Box::pin(check::run(args, config, output)).await,
        LinkCommand::Listen(args) => listen::run(args, config, output).await,
        LinkCommand::Send(args) => send::run(args, config, output).await,
        LinkCommand::BroadcastDemo(args) => broadcast_demo::run(args, config, output).await,
        LinkCommand::Presign(args) => presign::run(args, config, output).await,
        LinkCommand::Refused(command) => refused::run(command, config, output).await,
        LinkCommand::Refill(args) => refill::run(args, config, output).await,
        LinkCommand::Forget(args) => forget::run(args, config, output).await,
    }
}
