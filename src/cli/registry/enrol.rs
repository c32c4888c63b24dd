//! `sluice enrol`: add, list, revoke the codes with which devices get their first certificate.
//!
//! A code is shown once, when it is made; it is never an argument and never kept.

use clap::{Args, Subcommand};
use serde::Serialize;
use uuid::Uuid;

use super::device_values::read_site;
use crate::command::context::{CommandContext, outage, printed};
use crate::command::failure::{Exit, Failure};
use crate::command::list_args::PageArgs;
use crate::command::registry_errors::not_ready;
use crate::command::table::{OutputFormat, fields, note, rows};
use crate::command::text::{cell_or_none, moment, printable_or_none};
use crate::config::Config;
use crate::domain::enrolment::{CodeExpiry, EnrolmentScope, NamePattern};
use crate::domain::ids::{DeviceId, TenantId};
use crate::pki::authority::directory::PairName;
use crate::registry::enrolment::{self as registry, CodeOrder, MAX_CODE_USES, MakeCodeError};
use crate::store::registry::enrolment_codes::{self, EnrolmentCodeError, EnrolmentCodeRow};

/// Make, list and revoke enrolment codes.
#[derive(Clone, Debug, Subcommand)]
pub enum EnrolCommand {
    /// Make a code for the first certificate of devices; it is shown once
    #[command(
        after_help = "The device sends the code as the password to EST_BIND; its user name is TENANT/device/DEVICE. With --pattern, a \
            device that has an ACTIVE certificate is refused.\n\n\
            Examples:\n  sluice enrol add acme --device pump-1\n  \
            sluice enrol add acme --pattern 'pump-*' --uses 50 --expires 7d --site north"
    )]
    Add(AddArgs),
    /// List the codes of a tenant, the newest first
    #[command(after_help = "Example:\n  sluice enrol list acme --limit 20")]
    List {
        /// The tenant
        tenant: TenantId,
        /// Which page
        #[command(flatten)]
        page: PageArgs<Uuid>,
    },
    /// Revoke a code; certificates issued with it stay valid
    #[command(
        after_help = "Example:\n  sluice enrol revoke acme 0199b0f2-7d1e-7c3a-9a51-2f0c6f1f6a11"
    )]
    Revoke {
        /// The tenant
        tenant: TenantId,
        /// The code's identifier, as `sluice enrol list` shows it
        #[arg(value_name = "ID")]
        code: Uuid,
    },
}

/// The code to make.
#[derive(Clone, Debug, Args)]
pub struct AddArgs {
    /// The tenant whose devices the code enrols
    tenant: TenantId,
    /// The device that the code enrols
    #[arg(long, required_unless_present = "pattern", conflicts_with = "pattern")]
    device: Option<DeviceId>,
    /// The first characters of the devices' names, then *, such as pump-*
    #[arg(long)]
    pattern: Option<NamePattern>,
    /// How often the code may be used
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CODE_USES)))]
    uses: u32,
    /// When the code expires: RFC 3339, or a span after now such as 30m, 24h, 7d, up to 365 days
    #[arg(long, value_name = "TIME", default_value = "24h")]
    expires: CodeExpiry,
    /// The site of a device that the code adds
    #[arg(long, value_parser = read_site)]
    site: Option<String>,
    /// Refuse a device that is not registered, instead of adding it
    #[arg(long)]
    registered_only: bool,
    /// The authority in `CELL_AUTHORITIES_DIR` that signs the certificates, instead of that of
    /// `DEVICE_CA_CERT_PATH`
    #[arg(long, value_name = "NAME")]
    authority: Option<PairName>,
}

/// The output after a code was made.
#[derive(Serialize)]
struct CodeMade {
    #[serde(flatten)]
    row: EnrolmentCodeRow,
    /// Shown once.
    code: String,
}

/// Runs the command.
pub async fn run(
    command: EnrolCommand,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let operator = CommandContext::open(config).await?;
    match command {
        EnrolCommand::Add(args) => add(&operator, args, config, output).await,
        EnrolCommand::List { tenant, page } => list(&operator, &tenant, &page, output).await,
        EnrolCommand::Revoke { tenant, code } => {
            let revoked = registry::revoke_code(operator.action_context(), &tenant, code).await;
            print(&revoked.map_err(explain)?, output)
        }
    }
}

async fn add(
    operator: &CommandContext,
    args: AddArgs,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let order = args.order()?;
    let made = registry::make_code(operator.action_context(), &config.certificates, order).await;
    let (code, row) = made.map_err(|error| match error {
        MakeCodeError::Store(error) => explain(error),
        MakeCodeError::Signer(error) => not_ready(&error),
        MakeCodeError::Expiry(_) => Failure::usage(format!("{error}: change --expires")),
        MakeCodeError::Random(_) => Failure::new(Exit::Internal, error.to_string()),
    })?;
    if output == OutputFormat::Table {
        note!("The code is shown only now: Sluice stores its SHA-256.");
    }
    if config.est.listener.is_none() {
        note!(
            "EST_BIND is not set here: no device can use the code before the daemon listens there."
        );
    }
    let made = CodeMade { row, code: code.into_text() };
    let lines = [
        ("Code", made.code.clone()),
        ("Id", made.row.code_id.to_string()),
        ("User name", format!("{}/device/{}", made.row.tenant_id, scope_of(&made.row))),
        ("Uses", made.row.max_uses.to_string()),
        ("Expires", moment(made.row.expires_at)),
    ];
    printed(fields(output, &made, &lines))
}

async fn list(
    operator: &CommandContext,
    tenant: &TenantId,
    page: &PageArgs<Uuid>,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let pool = operator.database.pool();
    let found = enrolment_codes::list(pool, tenant, page.cursor(), page.limit).await;
    let found = found.map_err(explain)?;
    let headings = ["ID", "DEVICES", "SITE", "STATUS", "USES", "EXPIRES"];
    let done = printed(rows(output, &headings, &found, |row| {
        vec![
            row.code_id.to_string(),
            scope_of(row),
            cell_or_none(row.site_id.as_deref()),
            row.status.clone(),
            format!("{} of {}", row.uses, row.max_uses),
            moment(row.expires_at),
        ]
    }))?;
    page.note_next(found.len(), found.last().map(|row| row.code_id));
    Ok(done)
}

// === impl AddArgs ===

impl AddArgs {
    fn order(self) -> Result<CodeOrder, Failure> {
        let scope = match (self.device, self.pattern) {
            (Some(device), None) => EnrolmentScope::Device(device),
            (None, Some(pattern)) => EnrolmentScope::Pattern(pattern),
            _ => return Err(Failure::usage("name the devices: --device, or --pattern".to_owned())),
        };
        Ok(CodeOrder {
            tenant: self.tenant,
            scope,
            site: self.site,
            adds_devices: !self.registered_only,
            max_uses: self.uses,
            expiry: self.expires,
            authority: self.authority,
        })
    }
}

// === private helpers ===

fn print(row: &EnrolmentCodeRow, output: OutputFormat) -> Result<Exit, Failure> {
    let lines = [
        ("Id", row.code_id.to_string()),
        ("Tenant", row.tenant_id.clone()),
        ("Devices", scope_of(row)),
        ("Site", printable_or_none(row.site_id.as_deref())),
        ("Authority", printable_or_none(row.authority.as_deref())),
        ("Status", row.status.clone()),
        ("Uses", format!("{} of {}", row.uses, row.max_uses)),
        ("Expires", moment(row.expires_at)),
    ];
    printed(fields(output, row, &lines))
}

fn scope_of(row: &EnrolmentCodeRow) -> String {
    cell_or_none(row.device_id.as_deref().or(row.device_pattern.as_deref()))
}

fn explain(error: EnrolmentCodeError) -> Failure {
    let what = error.to_string();
    let advice = match error {
        EnrolmentCodeError::Outage(trouble) => return outage(&trouble),
        EnrolmentCodeError::NoTenant(tenant) => format!(
            "add it with `sluice tenant add {tenant}`, or find the right name with `sluice tenant list`"
        ),
        EnrolmentCodeError::Unknown { tenant, .. } => {
            format!("`sluice enrol list {tenant}` lists its codes")
        }
        EnrolmentCodeError::TooMany(_) => "codes are deleted 90 days after they expired".to_owned(),
    };
    Failure::usage(format!("{what}: {advice}"))
}
