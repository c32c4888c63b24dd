//! `sluice ca`: init, show, bundle.
//!
//! It makes and reads files, and needs no database. What is there is never written over: it is checked, named, and kept.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::ca_init;
use crate::clock;
use crate::command::failure::{Exit, Failure};
use crate::command::table::{OutputFormat, fields};
use crate::command::text::{NONE, moment, printable};
use crate::config::Config;
use crate::config::sections::certificates::CertificatesConfig;
use crate::domain::time::Timestamp;
use crate::pki::authority::end::AuthorityEnd;
use crate::pki::authority::{Authority, AuthorityCertificate};
use crate::pki::crl::file::{self, CrlState};

/// The authority that signs devices.
#[derive(Clone, Debug, Subcommand)]
pub enum CaCommand {
    /// Make the authority, its key, a first CRL, and, if asked, the broker's own certificate
    #[command(after_help = "What is there already is checked and kept, never written over.\n\nExamples:\n  \
        sluice ca init --cert ca.crt --key ca.key --crl crl.pem\n  \
        sluice ca init --server-name broker.example.org --server-name 192.0.2.7 --server-dir /etc/mosquitto/certs")]
    Init(ca_init::InitArgs),
    /// Show the authority, and the state of its key and its CRL; exit 1 when one of them cannot be used
    #[command(after_help = "Example:\n  sluice ca show --cert ca.crt")]
    Show(AuthorityPaths),
    /// Print the authority's certificates in PEM: what the broker trusts devices by
    #[command(after_help = "Example:\n  sluice ca bundle > /etc/mosquitto/certs/devices.pem")]
    Bundle(AuthorityPaths),
}

/// Where the authority's files are; the settings tell what is not given.
#[derive(Clone, Debug, Args)]
pub struct AuthorityPaths {
    /// Its certificate, instead of `DEVICE_CA_CERT_PATH`
    #[arg(long, value_name = "FILE")]
    pub(super) cert: Option<PathBuf>,
    /// Its key, instead of `DEVICE_CA_KEY_PATH`
    #[arg(long, value_name = "FILE")]
    pub(super) key: Option<PathBuf>,
    /// Its CRL, instead of `CRL_OUTPUT_PATH`
    #[arg(long, value_name = "FILE")]
    pub(super) crl: Option<PathBuf>,
}

/// Runs the command.
pub fn run(command: CaCommand, config: &Config, output: OutputFormat) -> Result<Exit, Failure> {
    let settings = &config.certificates;
    match command {
        CaCommand::Init(args) => ca_init::run(&args, settings, output),
        CaCommand::Show(places) => show(&places.or(settings), output),
        CaCommand::Bundle(places) => {
            let authority = open(places.or(settings).cert()?, clock::now())?;
            io::stdout().write_all(authority.bundle_pem().as_bytes())?;
            Ok(Exit::Done)
        }
    }
}

// === impl Places ===

impl AuthorityPaths {
    pub(super) fn or(&self, settings: &CertificatesConfig) -> Self {
        Self {
            cert: self.cert.clone().or_else(|| settings.ca_cert_path.clone()),
            key: self.key.clone().or_else(|| settings.ca_key_path.clone()),
            crl: self.crl.clone().or_else(|| settings.crl_output_path.clone()),
        }
    }

    pub(super) fn cert(&self) -> Result<&Path, Failure> {
        named(self.cert.as_deref(), "the authority's certificate", "--cert FILE or DEVICE_CA_CERT_PATH")
    }

    pub(super) fn key(&self) -> Result<&Path, Failure> {
        named(self.key.as_deref(), "the authority's key", "--key FILE or DEVICE_CA_KEY_PATH")
    }
}

// --- private helpers ---

fn named<'a>(path: Option<&'a Path>, what: &str, how: &str) -> Result<&'a Path, Failure> {
    path.ok_or_else(|| Failure::usage(format!("nothing says where {what} is: give {how}")))
}

fn open(cert: &Path, now: Timestamp) -> Result<AuthorityCertificate, Failure> {
    AuthorityCertificate::open(cert, now).map_err(|error| unusable(cert, &error))
}

pub(super) fn unusable(path: &Path, error: &impl ToString) -> Failure {
    Failure::new(Exit::Config, format!("{}: {}", path.display(), error.to_string()))
}

fn show(places: &AuthorityPaths, output: OutputFormat) -> Result<Exit, Failure> {
    let now = clock::now();
    let cert = places.cert()?;
    let authority = open(cert, now)?;
    let own = authority.certificate();
    let key = places.key.as_deref().map(|key| Authority::open(cert, key, now).map(|_| ()).map_err(|e| e.to_string()));
    let crl = places.crl.as_deref().map(|path| crl_state(path, &authority, now));
    let said = |state: &Option<Result<String, String>>| match state {
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
        ("Key", said(&key)),
        ("CRL", said(&crl)),
        ("Warning", warning.clone().unwrap_or_else(|| NONE.to_owned())),
    ];
    let value = json!({
        "subject": own.subject(), "issuer": own.issuer(), "serial_number": own.serial().to_string(),
        "fingerprint_sha256": own.fingerprint().to_string(), "key_kind": kind, "not_before": from, "not_after": until,
        "certificate": cert, "key": said(&key), "crl": said(&crl), "warning": warning,
    });
    fields(output, &value, &lines)?;
    let is_bad = [key, crl].into_iter().flatten().any(|state| state.is_err());
    Ok(if is_bad { Exit::Negative } else { Exit::Done })
}

pub(super) fn crl_state(path: &Path, authority: &AuthorityCertificate, now: Timestamp) -> Result<String, String> {
    match file::inspect(path, authority, now, None) {
        CrlState::Bad(fault) => Err(fault.to_string()),
        CrlState::Good(crl) => {
            let ends = moment(crl.next_update().to_utc());
            Ok(format!("good: number {}, {} revoked, until {ends}", crl.number(), crl.entries().len()))
        }
    }
}
