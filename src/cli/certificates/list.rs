//! `sluice cert list` and `show`: the certificates, as a table or as JSON.
//!
//! It only reads, and escapes text from certificates for the terminal.

use std::io::{self, Write};

use clap::{Args, value_parser};

use crate::command::context::printed;
use crate::command::failure::{Exit, Failure};
use crate::command::list_args::{DeviceFilterArgs, PageArgs};
use crate::command::registry_errors::not_stored;
use crate::command::table::{OutputFormat, fields, rows};
use crate::command::text::{NONE, moment, moment_or_none, printable, printable_or_none};
use crate::domain::certificate_search::CertificateSearch;
use crate::domain::ids::TenantId;
use crate::registry::ActionContext;
use crate::registry::certificates::find::{self, MAX_DAYS_AHEAD};
use crate::store::certificates::inventory::{self, CertificateFilter, EndCount, ExpiryWeek};
use crate::store::certificates::{self, CertificateRow, CertificateStatus, Handle};
use uuid::Uuid;

/// Which certificates to list.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    owner: DeviceFilterArgs,
    /// Only rows with this status: ACTIVE, REVOKED or EXPIRED
    #[arg(long, value_parser = read_status)]
    status: Option<CertificateStatus>,
    /// Only ACTIVE certificates that expire within this number of days and have no ACTIVE
    /// replacement; sorted by expiry
    #[arg(long, value_name = "DAYS", value_parser = value_parser!(u32).range(0..=i64::from(MAX_DAYS_AHEAD)))]
    expiring: Option<u32>,
    /// Only certificates that this search finds, such as "status:ACTIVE ends:<30d pump-*"
    #[arg(long)]
    search: Option<CertificateSearch>,
    /// The order: by device, or by expiry
    #[arg(long, value_name = "ORDER", value_parser = ["name", "end"], default_value = "name")]
    sort: String,
    #[command(flatten)]
    page: PageArgs<Uuid>,
}

/// Whose certificates to count.
#[derive(Clone, Debug, Args)]
pub struct ExpiryArgs {
    /// Only certificates of this tenant
    #[arg(long)]
    tenant: Option<TenantId>,
}

/// `cert list`.
pub async fn list(
    action: ActionContext<'_>,
    args: ListArgs,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let ends_before = args.expiring.map(|days| find::days_ahead(action.now, days));
    let (tenant, device) = args.owner.key()?;
    let after = args.page.cursor();
    let filter = CertificateFilter {
        tenant,
        device,
        status: args.status,
        ends_before,
        search: args.search.unwrap_or_default(),
        is_by_end: args.sort == "end",
        after,
        now: action.now,
    };
    let pool = action.database.pool();
    let page = inventory::list(pool, &filter, args.page.limit).await.map_err(not_stored)?;
    let headings = ["ID", "DEVICE", "STATUS", "ENDS", "RETIRES", "REPLACED BY"];
    printed(rows(output, &headings, &page, |row| {
        vec![
            row.id.to_string(),
            format!("{}/{}", row.tenant_id, row.device_id),
            row.status.to_string(),
            moment(row.not_after),
            moment_or_none(row.retire_at),
            id_or_none(row.replaced_by),
        ]
    }))?;
    args.page.note_next(page.len(), page.last().map(|row| row.id));
    Ok(Exit::Done)
}

/// `cert expiry`.
pub async fn expiry(
    action: ActionContext<'_>,
    args: &ExpiryArgs,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let pool = action.database.pool();
    let counts = inventory::count_ends(pool, args.tenant.as_ref(), action.now).await;
    let counts = counts.map_err(not_stored)?;
    if output == OutputFormat::Json {
        return printed(fields(output, &counts, &[]));
    }
    let of = |name: &str, count: EndCount| {
        vec![name.to_owned(), count.ending.to_string(), count.unreplaced.to_string()]
    };
    let week = |week: &ExpiryWeek| {
        let count = EndCount { ending: week.ending, unreplaced: week.unreplaced };
        of(&format!("week of {}", week.first_day), count)
    };
    let head = [of("past their end", counts.past), of("within 30 days", counts.due)];
    let weeks = counts.weeks.iter().filter(|week| week.ending > 0).map(week);
    let lines: Vec<Vec<String>> =
        head.into_iter().chain(weeks).chain([of("later", counts.later)]).collect();
    printed(rows(output, &["ENDS", "CERTIFICATES", "NO SUCCESSOR"], &lines, Clone::clone))
}

/// `cert show`.
pub async fn show(
    action: ActionContext<'_>,
    which: &Handle,
    pem: bool,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let found = certificates::find(action.database.pool(), which).await.map_err(not_stored)?;
    if !pem {
        return printed(fields(output, &found, &lines(&found.certificate)));
    }
    let Some(text) = found.cert_pem else {
        return Err(Failure::usage(format!(
            "the registry does not contain the PEM text of certificate {which}: import the certificate again"
        )));
    };
    printed(io::stdout().write_all(text.as_bytes()))
}

/// Prints one certificate.
pub fn print(row: &CertificateRow, output: OutputFormat) -> Result<Exit, Failure> {
    printed(fields(output, row, &lines(row)))
}

/// The fields of a certificate, one line each.
pub fn lines(row: &CertificateRow) -> Vec<(&'static str, String)> {
    vec![
        ("Certificate", row.id.to_string()),
        ("Device", format!("{}/{}", row.tenant_id, row.device_id)),
        ("Status", row.status.to_string()),
        ("Common name", printable(&row.common_name)),
        ("Issuer", printable(&row.issuer)),
        ("Serial", printable(&row.serial_number)),
        ("Fingerprint", row.fingerprint_sha256.clone()),
        ("Public key", printable_or_none(row.public_key_sha256.as_deref())),
        ("Begins", moment(row.not_before)),
        ("Ends", moment(row.not_after)),
        ("Retires", moment_or_none(row.retire_at)),
        ("Replaces", id_or_none(row.replaces)),
        ("Replaced by", id_or_none(row.replaced_by)),
        ("Revoked", moment_or_none(row.revoked_at)),
        ("Reason", printable_or_none(row.revoked_reason.as_deref())),
        ("Added", moment(row.created_at)),
    ]
}

// --- private helpers ---

fn id_or_none(id: Option<Uuid>) -> String {
    id.map_or_else(|| NONE.to_owned(), |id| id.to_string())
}

fn read_status(text: &str) -> Result<CertificateStatus, &'static str> {
    CertificateStatus::from_label(&text.to_ascii_uppercase())
        .ok_or("expected ACTIVE, REVOKED or EXPIRED")
}
