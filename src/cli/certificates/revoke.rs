//! `sluice cert revoke`: writes the row, and with `--wait` prints each step of the revocation as it
//! completes.
//!
//! It performs no step itself: the daemon that publishes the CRL does.

use std::io::{self, Write};
use std::time::Duration;

use chrono::SecondsFormat;
use clap::{Args, value_parser};
use serde::Serialize;

use super::list;
use crate::command::context::printed;
use crate::command::failure::{Exit, Failure};
use crate::command::registry_errors::not_stored;
use crate::command::table::{OutputFormat, json};
use crate::command::text::moment;
use crate::pki::crl::RevocationReason;
use crate::registry::ActionContext;
use crate::registry::certificates::find;
use crate::registry::certificates::revoke as revoking;
use crate::registry::certificates::revoke::Revoked;
use crate::registry::revocation::progress::{self, RevocationFailure, RevocationSteps, StepState};
use crate::store::certificates::revocation_ledger::RevocationStep;
use crate::store::certificates::{CertificateRow, Handle};

/// Which certificate, why, and how long to wait.
#[derive(Clone, Debug, Args)]
pub struct RevokeArgs {
    /// The certificate's identifier or SHA-256 fingerprint
    #[arg(value_name = "ID")]
    which: Handle,
    /// The reason, by its name in RFC 5280
    #[arg(long, default_value = "unspecified", value_parser = read_reason)]
    reason: RevocationReason,
    /// Wait for the proof that the broker enforces the revocation
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, value_name = "SECONDS", requires = "wait", default_value_t = 30, value_parser = value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

/// The output of `--wait`.
#[derive(Serialize)]
struct RevokeOutput<'a> {
    #[serde(flatten)]
    certificate: &'a CertificateRow,
    revocation: &'a RevocationSteps,
}

/// Prints each completed step once.
struct StepPrinter {
    printed_steps: Vec<&'static str>,
    printing: io::Result<()>,
}

/// `cert revoke`.
pub async fn revoke(
    action: ActionContext<'_>,
    args: &RevokeArgs,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let id = find::resolve(action, &args.which).await.map_err(not_stored)?;
    let revoked = revoking::revoke(action, id, args.reason).await.map_err(not_stored)?;
    warn(&revoked);
    if args.wait {
        return follow(action, &revoked.certificate, Duration::from_secs(args.timeout), output)
            .await;
    }
    list::print(&revoked.certificate, output)
}

// === impl StepPrinter ===

impl StepPrinter {
    fn print(&mut self, steps: &RevocationSteps) {
        for step in steps.links.iter().filter(|step| step.held_at.is_some()) {
            if self.printing.is_ok() && !self.printed_steps.contains(&step.link) {
                self.printed_steps.push(step.link);
                self.printing = print_step(steps, step);
            }
        }
    }
}

// --- private helpers ---

fn warn(revoked: &Revoked) {
    if !revoked.is_new {
        crate::command::table::note!(
            "The certificate was already revoked: its first date and reason stay."
        );
    }
    // The new certificate of a rotation was revoked, but the old one is still due to be revoked.
    if let Some((old, retires)) =
        revoked.retiring.as_ref().and_then(|old| Some((old.id, old.retire_at?)))
    {
        crate::command::table::note!(
            "The certificate that it replaced, {old}, is revoked too, at {}: issue another one with `sluice cert rotate {old}`.",
            moment(retires)
        );
    }
}

async fn follow(
    action: ActionContext<'_>,
    certificate: &CertificateRow,
    patience: Duration,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let mut printer = StepPrinter { printed_steps: Vec::new(), printing: Ok(()) };
    let waited = progress::wait_for(action.database, certificate.id, patience, |progress| {
        if output == OutputFormat::Table {
            printer.print(&RevocationSteps::from(progress));
        }
    });
    let (steps, failure) = match waited.await {
        Ok(progress) => (RevocationSteps::from(&progress), None),
        Err(failure) => match &failure {
            RevocationFailure::Link { progress, .. } => {
                (RevocationSteps::from(progress.as_ref()), Some(failure))
            }
            RevocationFailure::NotRevoked(_) | RevocationFailure::Outage(_) => {
                let message = format!("certificate {} is revoked, but {failure}", certificate.id);
                return Err(Failure::unavailable(message));
            }
        },
    };
    if output == OutputFormat::Json {
        printer.printing = json(&RevokeOutput { certificate, revocation: &steps });
    }
    match failure {
        Some(failure) => Err(Failure::new(Exit::Negative, failure.to_string())),
        None => printed(printer.printing),
    }
}

fn print_step(steps: &RevocationSteps, step: &StepState) -> io::Result<()> {
    let at =
        step.held_at.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true)).unwrap_or_default();
    let list = steps.crl_number.filter(|_| step.link == RevocationStep::Published.label());
    let list = list.map(|number| format!("  CRL number {number}")).unwrap_or_default();
    writeln!(
        io::stdout(),
        "{:9}  {at}  +{:.3} s{list}",
        step.link,
        step.seconds.unwrap_or_default()
    )
}

fn read_reason(text: &str) -> Result<RevocationReason, String> {
    RevocationReason::from_label(text).ok_or_else(|| {
        let known = RevocationReason::ALL.map(RevocationReason::label).join(", ");
        format!("expected one of {known}")
    })
}
