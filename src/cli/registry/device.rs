//! `sluice device`: add, list, preview, show, edit, set-status, set-token, remove.
//!
//! A token is shown once, when it is created, or read from standard input; it is never an argument
//! and never kept.

use std::io;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::device_edit::DeviceEditArgs;
use super::device_list::{DeviceListArgs, SEARCH_HELP};
use super::device_values::{
    explain, explain_change, read_metadata, read_site, read_status, yes_or_no,
};
use super::token::TokenSource;
use super::{device_preview, status_reach};
use crate::command::context::{CommandContext, outage, printed};
use crate::command::failure::{Exit, Failure};
use crate::command::table::{OutputFormat, fields};
use crate::command::text::{NONE, moment, moment_or_none, printable, printable_or_none};
use crate::config::Config;
use crate::domain::device::DeviceStatus;
use crate::domain::ids::{DeviceId, DeviceKey, TenantId};
use crate::domain::token::SecretToken;
use crate::quarantine::registration::TakeoverError;
use crate::registry::devices::{self as registry, DeviceChangeError, DeviceOrder, TokenChoice};
use crate::store::registry::devices;

/// Manage devices and their tokens.
#[derive(Clone, Debug, Subcommand)]
pub enum DeviceCommand {
    /// Register a device; its new token is shown once
    #[command(after_help = "Examples:\n  sluice device add acme pump-1 --site north\n  \
            sluice device add acme pump-2 --no-token   # a certificate authenticates it\n  \
            sluice device add acme pump-3 --token-stdin < token.txt\n  \
            sluice device add acme pump-4 --token-of-event 0199b0f2-7d1e-7c3a-9a51-2f0c6f1f6a11")]
    Add {
        /// The device
        #[command(flatten)]
        which: DeviceArg,
        /// The device's site; a message that names another site is refused
        #[arg(long, value_parser = read_site)]
        site: Option<String>,
        /// The device's status: ACTIVE, INACTIVE or REVOKED
        #[arg(long, default_value = "ACTIVE", value_parser = read_status)]
        status: DeviceStatus,
        /// Your own data about the device: a JSON object
        #[arg(long, value_name = "JSON", value_parser = read_metadata, default_value = "{}")]
        metadata: Map<String, Value>,
        /// The device's token
        #[command(flatten)]
        token: TokenSource,
        /// Take over the token that this refused message of the device carried; every kept message of the device must carry
        /// the same token or none
        #[arg(long, value_name = "EVENT", conflicts_with_all = ["token_stdin", "no_token"])]
        token_of_event: Option<Uuid>,
    },
    /// Search devices
    #[command(after_help = SEARCH_HELP)]
    List(DeviceListArgs),
    /// Show what the registration of a device would do to its refused messages
    #[command(
        after_help = "A replay of its messages is tried for each way in which the new device could authenticate itself; nothing is \
            changed.\n\nExample:\n  sluice device preview acme pump-99"
    )]
    Preview {
        /// The device
        #[command(flatten)]
        which: DeviceArg,
    },
    /// Show a device, the number of its certificates and the time of its last message
    #[command(after_help = "Example:\n  sluice device show acme pump-1")]
    Show {
        /// The device
        #[command(flatten)]
        which: DeviceArg,
    },
    /// Change a device's site or its metadata
    #[command(
        after_help = "The metadata is a JSON merge patch (RFC 7396): a member that is null is removed, the others stay.\n\n\
            Examples:\n  sluice device edit acme pump-1 --site north\n  \
            sluice device edit acme pump-1 --metadata '{\"model\": \"P8\", \"note\": null}'"
    )]
    Edit {
        /// The device
        #[command(flatten)]
        which: DeviceArg,
        /// The changes
        #[command(flatten)]
        changes: DeviceEditArgs,
    },
    /// Activate, deactivate or revoke a device
    #[command(
        after_help = "Every replica applies the status within a second. With ACL_OUTPUT_PATH the broker's access rules follow within \
            seconds: unless it is ACTIVE, the device can neither publish nor read. It can still connect until \
            `sluice cert revoke` revokes its certificate.\n\n\
            Example:\n  sluice device set-status acme pump-1 INACTIVE"
    )]
    SetStatus {
        /// The device
        #[command(flatten)]
        which: DeviceArg,
        /// The new status: ACTIVE, INACTIVE or REVOKED
        #[arg(value_parser = read_status)]
        status: DeviceStatus,
    },
    /// Replace a device's token; the new one is shown once, the old one is invalid at once
    #[command(after_help = "Examples:\n  sluice device set-token acme pump-1\n  \
            sluice device set-token acme pump-1 --token-stdin < token.txt\n  \
            sluice device set-token acme pump-1 --no-token   # removes the token")]
    SetToken {
        /// The device
        #[command(flatten)]
        which: DeviceArg,
        /// The device's token
        #[command(flatten)]
        token: TokenSource,
    },
    /// Remove a device with its state and commands, and revoke its certificates
    #[command(
        after_help = "The device's data stays until its retention ends. A device that is added later under the same name is a new \
            device: the old certificates stay revoked.\n\n\
            Example:\n  sluice device remove acme pump-1"
    )]
    Remove {
        /// The device
        #[command(flatten)]
        which: DeviceArg,
    },
}

/// One device, by name.
#[derive(Clone, Debug, Args)]
pub struct DeviceArg {
    /// The device's tenant
    tenant: TenantId,
    /// The device's name within the tenant: 1 to 64 characters of A-Z a-z 0-9 . _ : -
    device: DeviceId,
}

/// The output after a token was set.
#[derive(Serialize)]
struct TokenSet {
    tenant_id: String,
    device_id: String,
    /// `Some` only when it was created here; shown once.
    token: Option<String>,
    has_token: bool,
}

/// Runs the command.
pub async fn run(
    command: DeviceCommand,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let operator = CommandContext::open(config).await?;
    match command {
        DeviceCommand::Add { which, site, status, metadata, token, token_of_event } => {
            let key = which.key();
            let token = match token_of_event {
                Some(event) => take_token(&operator, &key, event).await?,
                None => token.choose(io::stdin())?,
            };
            let order = DeviceOrder { key: key.clone(), site, status, metadata, token };
            let made = registry::add(operator.action_context(), config, order).await;
            let made = made.map_err(|error| not_added(&key, error))?;
            warn_of_refusal(&key, token, config);
            print_token(&key, token, made, output)
        }
        DeviceCommand::List(args) => args.run(&operator, output).await,
        DeviceCommand::Edit { which, changes } => {
            let key = which.key();
            changes.run(&operator, &key).await?;
            show(&operator, &key, output).await
        }
        DeviceCommand::Preview { which } => {
            device_preview::run(&operator, config, &which.key(), output).await
        }
        DeviceCommand::Show { which } => show(&operator, &which.key(), output).await,
        DeviceCommand::SetStatus { which, status } => {
            set_status(&operator, &which.key(), status, config, output).await
        }
        DeviceCommand::SetToken { which, token } => {
            let key = which.key();
            let token = token.choose(io::stdin())?;
            let made = registry::set_token(operator.action_context(), &key, token).await;
            print_token(&key, token, made.map_err(explain_change)?, output)
        }
        DeviceCommand::Remove { which } => {
            let key = which.key();
            let revoked = registry::remove(operator.action_context(), &key).await;
            let revoked = revoked.map_err(explain)?;
            let value = json!({ "removed": key.to_string(), "certificates_revoked": revoked });
            let lines =
                [("Removed", key.to_string()), ("Certificates revoked", revoked.to_string())];
            printed(fields(output, &value, &lines))
        }
    }
}

async fn set_status(
    operator: &CommandContext,
    key: &DeviceKey,
    status: DeviceStatus,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let was = registry::set_status(operator.action_context(), key, status).await;
    let was = was.map_err(explain)?;
    let now = status.label();
    let value = json!({
        "tenant_id": key.tenant(), "device_id": key.device(), "status": now, "was": was,
        "broker_rules_follow": status_reach::reaches_broker(config),
    });
    status_reach::print_note(output, config, "the device");
    let lines =
        [("Device", key.to_string()), ("Status", now.to_owned()), ("Before", was.to_string())];
    printed(fields(output, &value, &lines))
}

// === impl DeviceArg ===

impl DeviceArg {
    pub(crate) fn key(&self) -> DeviceKey {
        DeviceKey::of(&self.tenant, &self.device)
    }
}

// === private helpers ===

/// Prints the token that was made; `choice` says whether the device has one.
fn print_token(
    key: &DeviceKey,
    choice: TokenChoice,
    made: Option<SecretToken>,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let has_token = !matches!(choice, TokenChoice::None);
    let made = made.map(SecretToken::into_text);
    let line = match &made {
        Some(token) => token.clone(),
        None if matches!(choice, TokenChoice::TakenOver(..)) => {
            "as in its refused messages".to_owned()
        }
        None if has_token => "as given".to_owned(),
        None => NONE.to_owned(),
    };
    if made.is_some() && output == OutputFormat::Table {
        crate::command::table::note!(
            "The token is shown only now: Sluice stores its SHA-256. The device sends it as provision_token."
        );
    }
    let token_set = TokenSet {
        tenant_id: key.tenant().to_string(),
        device_id: key.device().to_string(),
        token: made,
        has_token,
    };
    printed(fields(output, &token_set, &[("Device", key.to_string()), ("Token", line)]))
}

async fn take_token(
    operator: &CommandContext,
    key: &DeviceKey,
    event: Uuid,
) -> Result<TokenChoice, Failure> {
    match operator.quarantine().take_token(key, event, true).await {
        Ok(token) => Ok(TokenChoice::TakenOver(token, event)),
        Err(TakeoverError::Outage(error)) => Err(outage(&error)),
        Err(TakeoverError::Refused(why)) => Err(Failure::usage(format!(
            "device {key} was not added: the token is not taken over: {why}; omit --token-of-event to create a new token"
        ))),
    }
}

async fn show(
    operator: &CommandContext,
    key: &DeviceKey,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let found = devices::show(operator.database.pool(), key).await.map_err(explain)?;
    let device = &found.device;
    let lines = [
        ("Device", key.to_string()),
        ("Status", device.status.to_string()),
        ("Tenant's status", found.tenant_status.to_string()),
        ("Site", printable_or_none(device.site_id.as_deref())),
        ("Token", yes_or_no(device.has_token)),
        ("Certificates", format!("{} ({} active)", found.certificates, found.certificates_active)),
        ("Last message", moment_or_none(found.last_seen_at)),
        ("Last telemetry", moment_or_none(found.last_telemetry_at)),
        ("Metadata", printable(&found.metadata.to_string())),
        ("Added", moment(device.created_at)),
        ("Changed", moment(device.updated_at)),
    ];
    printed(fields(output, &found, &lines))
}

/// Warns about a device without a token where nothing else identifies it: its messages will be
/// refused.
fn warn_of_refusal(key: &DeviceKey, token: TokenChoice, config: &Config) {
    let has_no_token = matches!(token, TokenChoice::None);
    if has_no_token && config.ingest.require_token && !config.ingest.cert_auth_enabled {
        crate::command::table::note!(
            "Sluice will refuse the device's messages: REQUIRE_TOKEN is on, CERT_AUTH_ENABLED is off, and the device has no \
             token. Create one with `sluice device set-token {} {}`.",
            key.tenant(),
            key.device()
        );
    }
}

fn not_added(key: &DeviceKey, error: DeviceChangeError) -> Failure {
    match error {
        DeviceChangeError::Name(error) => Failure::usage(format!(
            "device {key} was not added: {error}, or set CERT_AUTH_ENABLED=0 if no device has a \
             certificate"
        )),
        other => explain_change(other),
    }
}

pub(crate) fn read_key(text: &str) -> Result<DeviceKey, String> {
    let (tenant, device) = text.split_once('/').ok_or("expected TENANT/DEVICE")?;
    DeviceKey::new(tenant, device).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_as_it_was_printed() {
        assert_eq!(read_key("acme/pump-1"), Ok(DeviceKey::new("acme", "pump-1").unwrap()));
        assert!(read_key("acme").is_err());
        assert!(read_key("acme/a/b").is_err());
    }
}
