//! `sluice cert`: issue, import, list, show, renew, rotate, confirm, revoke.
//!
//! In reading order: [`issue`] (also renew and rotate), [`list`] (also show), [`revoke`]; [`files`]
//! reads and creates the files they name. [`ca`], [`ca_init`], [`ca_intermediate`], [`authority_paths`] and [`crl`] are
//! `sluice ca` and `sluice crl`. A private key goes to the file named for it, and is printed only
//! on request.

pub(crate) mod authority_paths;
pub(crate) mod ca;
pub(crate) mod ca_init;
pub(crate) mod ca_intermediate;
pub(crate) mod crl;
pub(crate) mod files;
pub(crate) mod issue;
pub(crate) mod list;
pub(crate) mod revoke;

use std::path::PathBuf;

use clap::{Subcommand, value_parser};
use serde_json::json;
use uuid::Uuid;

use super::registry::device::{DeviceArg, read_key};
use crate::clock;
use crate::command::context::{CommandContext, printed};
use crate::command::failure::{Exit, Failure};
use crate::command::registry_errors::{not_imported, not_ready, not_stored};
use crate::command::table::{OutputFormat, fields};
use crate::config::Config;
use crate::domain::ids::DeviceKey;
use crate::registry::certificates::find;
use crate::registry::certificates::import::issuer_of;
use crate::registry::certificates::rotate::MAX_GRACE_HOURS;
use crate::registry::{self, ActionContext};
use crate::store::certificates::Handle;
use files::read_input;
use issue::KeyArgs;
use list::{ExpiryArgs, ListArgs};
use revoke::RevokeArgs;

/// Largest file a certificate is imported from.
const MAX_CERTIFICATE_BYTES: u64 = 64 * 1024;

/// Issue, renew and revoke devices' certificates.
#[derive(Clone, Debug, Subcommand)]
pub enum CertCommand {
    /// Issue a certificate to a registered device
    #[command(
        after_help = "Examples:\n  sluice cert issue acme pump-1 --csr pump-1.csr --out pump-1.crt\n  \
            sluice cert issue acme pump-2 --new-key --key-out pump-2.key --out pump-2.crt"
    )]
    Issue {
        /// The device
        #[command(flatten)]
        which: DeviceArg,
        /// The key, and the output files
        #[command(flatten)]
        key: KeyArgs,
    },
    /// Import a certificate that the same authority signed elsewhere
    #[command(
        after_help = "Examples:\n  sluice cert import pump-1.crt\n  sluice cert import - < pump-1.crt"
    )]
    Import {
        /// The file with the certificate in PEM; - reads standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Import only a certificate of this device
        #[arg(long, value_name = "TENANT/DEVICE", value_parser = read_key)]
        device: Option<DeviceKey>,
    },
    /// List certificates with their device, expiry and replacement
    #[command(after_help = "Examples:\n  sluice cert list --tenant acme --status ACTIVE\n  \
            sluice cert list --device acme/pump-1\n  \
            sluice cert list --expiring 30   # expire within 30 days, and are not replaced\n  \
            sluice cert list --search \"status:ACTIVE ends:2027-03 pump-*\" --sort end")]
    List(ListArgs),
    /// Count the ACTIVE certificates by the week of their end
    #[command(after_help = "Example:\n  sluice cert expiry --tenant acme")]
    Expiry(ExpiryArgs),
    /// Show a certificate
    #[command(
        after_help = "Examples:\n  sluice cert show 01890a5d-ac96-774b-bcce-b302099a8057\n  \
            sluice cert show 01890a5d-ac96-774b-bcce-b302099a8057 --pem > pump-1.crt"
    )]
    Show {
        /// The certificate's identifier or SHA-256 fingerprint
        #[arg(value_name = "ID")]
        which: Handle,
        /// Print the certificate itself, in PEM
        #[arg(long)]
        pem: bool,
    },
    /// Issue a new certificate to the same device; the old one stays valid until it expires
    #[command(
        after_help = "The old certificate may have expired up to 90 days ago. A revoked certificate is not renewed.\n\n\
            Example:\n  sluice cert renew 01890a5d-ac96-774b-bcce-b302099a8057 --csr pump-1.csr --out pump-1.crt"
    )]
    Renew {
        /// The certificate's identifier or SHA-256 fingerprint
        #[arg(value_name = "ID")]
        which: Handle,
        /// The key, and the output files
        #[command(flatten)]
        key: KeyArgs,
    },
    /// Issue a new certificate to the same device; the old one is revoked after
    /// `ROTATION_GRACE_HOURS`
    #[command(
        after_help = "Example:\n  sluice cert rotate 01890a5d-ac96-774b-bcce-b302099a8057 --csr pump-1.csr --out pump-1.crt"
    )]
    Rotate {
        /// The certificate's identifier or SHA-256 fingerprint
        #[arg(value_name = "ID")]
        which: Handle,
        /// How long the old certificate stays valid, instead of `ROTATION_GRACE_HOURS`
        #[arg(long, value_name = "HOURS", value_parser = value_parser!(u32).range(0..=i64::from(MAX_GRACE_HOURS)))]
        grace_hours: Option<u32>,
        /// The key, and the output files
        #[command(flatten)]
        key: KeyArgs,
    },
    /// Confirm that the device uses its new certificate: the replaced ones are revoked at once
    #[command(after_help = "Example:\n  sluice cert confirm 01890a5d-ac96-774b-bcce-b302099a8057")]
    Confirm {
        /// The new certificate's identifier or SHA-256 fingerprint
        #[arg(value_name = "ID")]
        which: Handle,
    },
    /// Revoke a certificate
    #[command(
        after_help = "Reasons: unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation, privilegeWithdrawn.\n\n\
            Every replica refuses the certificate within a second. A revocation cannot be undone. With --wait the command prints \
            each step when it is done, up to the proof that the broker enforces the revocation; it exits with 1 when a step is \
            not done in time.\n\n\
            Examples:\n  sluice cert revoke 01890a5d-ac96-774b-bcce-b302099a8057 --reason keyCompromise --wait\n  \
            sluice cert revoke 01890a5d-ac96-774b-bcce-b302099a8057 --wait --timeout 60 --output json"
    )]
    Revoke(RevokeArgs),
}

/// Runs the command.
pub async fn run(
    command: CertCommand,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let operator = CommandContext::open(config).await?;
    let action =
        ActionContext { database: &operator.database, actor: &operator.actor, now: clock::now() };
    match command {
        CertCommand::Issue { which, key } => {
            issue::issue(action, &which.key(), &key, config, output).await
        }
        CertCommand::Import { file, device } => {
            import(action, &file, device.as_ref(), config, output).await
        }
        CertCommand::List(args) => list::list(action, args, output).await,
        CertCommand::Expiry(args) => list::expiry(action, &args, output).await,
        CertCommand::Show { which, pem } => list::show(action, &which, pem, output).await,
        CertCommand::Renew { which, key } => {
            issue::renew(action, resolve(action, &which).await?, &key, config, output).await
        }
        CertCommand::Rotate { which, grace_hours, key } => {
            let grace = grace_hours.unwrap_or(config.certificates.rotation_grace_hours);
            issue::rotate(action, resolve(action, &which).await?, grace, &key, config, output).await
        }
        CertCommand::Confirm { which } => {
            let new = resolve(action, &which).await?;
            let retired =
                registry::certificates::rotate::confirm(action, new).await.map_err(not_stored)?;
            let names: Vec<String> = retired.iter().map(Uuid::to_string).collect();
            let line = if names.is_empty() {
                "none: all were retired before".to_owned()
            } else {
                names.join(", ")
            };
            let value = json!({ "confirmed": new, "retired": names });
            printed(fields(output, &value, &[("Confirmed", new.to_string()), ("Retired", line)]))
        }
        CertCommand::Revoke(args) => revoke::revoke(action, &args, output).await,
    }
}

// --- private helpers ---

async fn import(
    action: ActionContext<'_>,
    file: &std::path::Path,
    expected: Option<&DeviceKey>,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let pem = read_input(file, MAX_CERTIFICATE_BYTES)?;
    let issuer = issuer_of(&pem);
    let authority = registry::open_issuer(&config.certificates, &issuer, action.now)
        .map_err(|error| not_ready(&error))?;
    let row = registry::certificates::import::import(action, &authority, &pem, expected)
        .await
        .map_err(not_imported)?;
    list::print(&row, output)
}

async fn resolve(action: ActionContext<'_>, which: &Handle) -> Result<Uuid, Failure> {
    find::resolve(action, which).await.map_err(not_stored)
}
