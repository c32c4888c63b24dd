//! `sluice ca`: init, issue-intermediate, show, bundle.
//!
//! It works on files alone and needs no database. It never overwrites a file: an existing one is
//! checked and kept.

use std::io::{self, Write};
use std::path::Path;

use clap::Subcommand;
use serde_json::json;

use super::authority_paths::{AuthorityPaths, crl_state, unusable};
use super::{ca_init, ca_intermediate};
use crate::clock;
use crate::command::failure::{Exit, Failure};
use crate::command::table::{OutputFormat, fields};
use crate::command::text::{NONE, moment, printable};
use crate::config::Config;
use crate::domain::time::Timestamp;
use crate::pki::authority::end::AuthorityEnd;
use crate::pki::authority::{Authority, AuthorityCertificate};

/// Create and show the authority that signs devices' certificates.
#[derive(Clone, Debug, Subcommand)]
pub enum CaCommand {
    /// Create the authority, its key and a first CRL; with --server-name also the broker's
    /// certificate
    #[command(
        after_help = "An existing file is checked and kept, and never overwritten.\n\nExamples:\n  \
        sluice ca init --cert ca.crt --key ca.key --crl crl.pem\n  \
        sluice ca init --server-name broker.example.org --server-name 192.0.2.7 --server-dir /etc/mosquitto/certs"
    )]
    Init(ca_init::InitArgs),
    /// Create an intermediate authority below the root, for the devices of one cell
    #[command(
        after_help = "The root was made with `sluice ca init --intermediates`. No file is overwritten.\n\nExample:\n  \
        sluice ca issue-intermediate --name 'Cell north' --cert north.crt --key north.key --crl north-crl.pem"
    )]
    IssueIntermediate(ca_intermediate::IntermediateArgs),
    /// Show the authority and the state of its key and its CRL; exit code 1 when one of them cannot
    /// be used
    #[command(after_help = "Example:\n  sluice ca show --cert ca.crt")]
    Show(AuthorityPaths),
    /// Print the authority's certificates in PEM; the broker verifies devices with them
    #[command(after_help = "Example:\n  sluice ca bundle > /etc/mosquitto/certs/devices.pem")]
    Bundle(AuthorityPaths),
}

/// Runs the command.
pub fn run(command: CaCommand, config: &Config, output: OutputFormat) -> Result<Exit, Failure> {
    let settings = &config.certificates;
    match command {
        CaCommand::Init(args) => ca_init::run(&args, settings, output),
        CaCommand::IssueIntermediate(args) => ca_intermediate::run(&args, settings, output),
        CaCommand::Show(paths) => show(&paths.or(settings), output),
        CaCommand::Bundle(paths) => {
            let authority = open(paths.or(settings).cert()?, clock::now())?;
            io::stdout().write_all(authority.bundle_pem().as_bytes())?;
            Ok(Exit::Done)
        }
    }
}

// --- private helpers ---

fn open(cert: &Path, now: Timestamp) -> Result<AuthorityCertificate, Failure> {
    AuthorityCertificate::open(cert, now).map_err(|error| unusable(cert, &error))
}

fn show(paths: &AuthorityPaths, output: OutputFormat) -> Result<Exit, Failure> {
    let now = clock::now();
    let cert = paths.cert()?;
    let authority = open(cert, now)?;
    let own = authority.certificate();
    let key = paths
        .key
        .as_deref()
        .map(|key| Authority::open(cert, key, now).map(|_| ()).map_err(|e| e.to_string()));
    let crl = paths.crl.as_deref().map(|path| crl_state(path, &authority, now));
    let describe = |state: &Option<Result<String, String>>| match state {
        None => "not set".to_owned(),
        Some(Ok(good)) => good.clone(),
        Some(Err(bad)) => format!("cannot be used: {bad}"),
    };
    let key = key.map(|state| state.map(|()| "good".to_owned()));
    let kind = own.key_kind().as_ref().map_or_else(ToString::to_string, ToString::to_string);
    let (from, until) = (moment(own.not_before().to_utc()), moment(own.not_after().to_utc()));
    let warning = match AuthorityEnd::of(&authority, now) {
        AuthorityEnd::Near(_, what) => Some(what),
        AuthorityEnd::Far(_) | AuthorityEnd::Past(..) | AuthorityEnd::Unknown(_) => None,
    };
    let lines = [
        ("Authority", printable(own.subject())),
        ("Issuer", printable(own.issuer())),
        ("Serial", own.serial().to_string()),
        ("Fingerprint", own.fingerprint().to_string()),
        ("Key kind", kind.clone()),
        ("Begins", from.clone()),
        ("Ends", until.clone()),
        ("Certificate", cert.display().to_string()),
        ("Key", describe(&key)),
        ("CRL", describe(&crl)),
        ("Warning", warning.clone().unwrap_or_else(|| NONE.to_owned())),
    ];
    let value = json!({
        "subject": own.subject(), "issuer": own.issuer(), "serial_number": own.serial().to_string(),
        "fingerprint_sha256": own.fingerprint().to_string(), "key_kind": kind, "not_before": from, "not_after": until,
        "certificate": cert, "key": describe(&key), "crl": describe(&crl), "warning": warning,
    });
    fields(output, &value, &lines)?;
    let is_bad = [key, crl].into_iter().flatten().any(|state| state.is_err());
    Ok(if is_bad { Exit::Negative } else { Exit::Done })
}
