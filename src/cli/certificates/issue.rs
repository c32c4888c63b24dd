//! `sluice cert issue`, `renew` and `rotate`: the key, the file of the certificate,
//! and the file of a new key, which is written once.
//!
//! It creates the files before issuing, so no private key is created without a place to store it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, value_parser};
use serde::Serialize;
use uuid::Uuid;

use super::files::{DASH, NewFile, read_input};
use super::list;
use crate::command::context::printed;
use crate::command::failure::{Exit, Failure};
use crate::command::registry_errors::{not_issued, not_ready, not_renewed, not_stored};
use crate::command::table::{OutputFormat, fields, json};
use crate::command::text::moment;
use crate::config::Config;
use crate::domain::ids::DeviceKey;
use crate::pki::authority::directory::PairName;
use crate::pki::files::{PRIVATE, PUBLIC};
use crate::pki::key::PrivateKeyPem;
use crate::pki::request::csr::MAX_REQUEST_BYTES;
use crate::pki::request::profile::Lifetime;
use crate::registry::certificates::issue::{Issued, KeySource, MAX_DAYS, Order};
use crate::registry::certificates::{issue as issuing, renew as renewing, rotate as rotating};
use crate::registry::{ActionContext, Signer, SignerChoice};
use crate::store::certificates::CertificateRow;

/// The key of the certificate, and the output files.
#[derive(Clone, Debug, Args)]
pub struct KeyArgs {
    /// The device's certificate request, PEM or DER; - reads standard input
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "new_key",
        conflicts_with = "new_key"
    )]
    csr: Option<PathBuf>,
    /// Create the private key here; it is written once, to --key-out, and not stored
    #[arg(long, requires = "key_out")]
    new_key: bool,
    /// The new file for that key, with mode 0600; - prints the key
    #[arg(long, value_name = "FILE", requires = "new_key")]
    key_out: Option<PathBuf>,
    /// The new file for the certificate; without it the certificate is printed
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How long the certificate is valid, instead of `CERT_VALIDITY_DAYS`
    #[arg(long, value_name = "DAYS", value_parser = value_parser!(u32).range(1..=i64::from(MAX_DAYS)))]
    days: Option<u32>,
    /// The authority in `CELL_AUTHORITIES_DIR` that signs. Without it `issue` takes that of
    /// `DEVICE_CA_CERT_PATH`, and the others take the one that issued the old certificate
    #[arg(long, value_name = "NAME")]
    authority: Option<PairName>,
}

/// The arguments, read, and the files created for the result.
struct PreparedKey {
    request: Option<Vec<u8>>,
    lifetime: Lifetime,
    out: Option<NewFile>,
    key_out: Option<NewFile>,
}

/// The output for an issued certificate.
#[derive(Serialize)]
struct IssueOutput<'a> {
    #[serde(flatten)]
    certificate: &'a CertificateRow,
    cert_pem: &'a str,
    /// `Some` only when `--key-out -` asks for it on standard output.
    #[serde(skip_serializing_if = "Option::is_none")]
    private_key: Option<&'a str>,
    ends_with_authority: bool,
}

/// `cert issue`.
pub async fn issue(
    action: ActionContext<'_>,
    device: &DeviceKey,
    key: &KeyArgs,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let choice = SignerChoice::first(key.authority.clone());
    let (signer, prepared) = prepare(action, key, &choice, config)?;
    let issued =
        issuing::issue(action, &signer, device, prepared.order()).await.map_err(not_issued)?;
    deliver(&issued, prepared, output)
}

/// `cert renew`.
pub async fn renew(
    action: ActionContext<'_>,
    old: Uuid,
    key: &KeyArgs,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let choice = choose(action, old, key).await?;
    let (signer, prepared) = prepare(action, key, &choice, config)?;
    let issued =
        renewing::renew(action, &signer, old, prepared.order()).await.map_err(not_renewed)?;
    deliver(&issued, prepared, output)
}

/// `cert rotate`.
pub async fn rotate(
    action: ActionContext<'_>,
    old: Uuid,
    grace_hours: u32,
    key: &KeyArgs,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let choice = choose(action, old, key).await?;
    let (signer, prepared) = prepare(action, key, &choice, config)?;
    let issued = rotating::rotate(action, &signer, old, grace_hours, prepared.order())
        .await
        .map_err(not_renewed)?;
    crate::command::table::note!(
        "Certificate {old} is revoked in {grace_hours} hours at the latest. When the device uses the new one, \
         `sluice cert confirm {}` revokes the old one at once.",
        issued.certificate.id
    );
    deliver(&issued, prepared, output)
}

// === impl PreparedKey ===

impl PreparedKey {
    fn order(&self) -> Order<'_> {
        let key = self.request.as_deref().map_or(KeySource::Made, KeySource::Request);
        Order { key, lifetime: self.lifetime }
    }
}

// --- private helpers ---

async fn choose(
    action: ActionContext<'_>,
    old: Uuid,
    key: &KeyArgs,
) -> Result<SignerChoice, Failure> {
    renewing::choose_signer(action, old, key.authority.clone()).await.map_err(not_stored)
}

fn prepare(
    action: ActionContext<'_>,
    key: &KeyArgs,
    choice: &SignerChoice,
    config: &Config,
) -> Result<(Signer, PreparedKey), Failure> {
    let signer = Signer::open_as(&config.certificates, choice, action.now)
        .map_err(|error| not_ready(&error))?;
    let request =
        key.csr.as_deref().map(|path| read_input(path, MAX_REQUEST_BYTES as u64)).transpose()?;
    let new_file = |path: &Option<PathBuf>, mode| {
        named(path.as_deref()).map(|path| NewFile::new(path, mode)).transpose()
    };
    let (out, key_out) = (new_file(&key.out, PUBLIC)?, new_file(&key.key_out, PRIVATE)?);
    let lifetime = key.days.map_or(Lifetime::Usual, Lifetime::Days);
    Ok((signer, PreparedKey { request, lifetime, out, key_out }))
}

/// The path; `None` for `-`.
fn named(path: Option<&Path>) -> Option<&Path> {
    path.filter(|path| path.as_os_str() != DASH)
}

/// Writes the key first, because there is no second copy, then the certificate.
fn deliver(issued: &Issued, prepared: PreparedKey, output: OutputFormat) -> Result<Exit, Failure> {
    let (row, pem) = (&issued.certificate, issued.pem.as_str());
    let mut private_key = issued.key.as_ref().map(PrivateKeyPem::expose);
    if let (Some(key), Some(new_file)) = (private_key, prepared.key_out) {
        new_file
            .fill(key.as_bytes())
            .map_err(|error| lost(row, "its private key", "revoke", &error))?;
        private_key = None;
    }
    if issued.ends_with_authority {
        eprintln!(
            "The certificate expires with the authority, at {}, earlier than CERT_VALIDITY_DAYS: create a new authority in time.",
            moment(row.not_after)
        );
    }
    let is_in_file = prepared.out.is_some();
    if let Some(new_file) = prepared.out {
        new_file
            .fill(pem.as_bytes())
            .map_err(|error| lost(row, "the certificate", "show --pem", &error))?;
    }
    if output == OutputFormat::Json {
        return print_json(issued, private_key);
    }
    let mut out = io::stdout().lock();
    if let Some(key) = private_key {
        out.write_all(key.as_bytes())
            .map_err(|error| lost(row, "its private key", "revoke", &error))?;
    }
    if is_in_file {
        drop(out);
        return printed(fields(output, row, &list::lines(row)));
    }
    out.write_all(pem.as_bytes())?;
    let (id, tenant, device) = (row.id, &row.tenant_id, &row.device_id);
    crate::command::table::note!("Certificate {id} of {tenant}/{device} was issued.");
    Ok(Exit::Done)
}

fn print_json(issued: &Issued, private_key: Option<&str>) -> Result<Exit, Failure> {
    let row = &issued.certificate;
    let written = json(&IssueOutput {
        certificate: row,
        cert_pem: &issued.pem,
        private_key,
        ends_with_authority: issued.ends_with_authority,
    });
    match private_key {
        // A closed pipe has lost the only copy of the key.
        Some(_) => written
            .map(|()| Exit::Done)
            .map_err(|error| lost(row, "its private key", "revoke", &error)),
        None => printed(written),
    }
}

/// The failure of a certificate that was issued but not written.
fn lost(row: &CertificateRow, what: &str, command: &str, error: &io::Error) -> Failure {
    Failure::new(
        Exit::Internal,
        format!(
            "certificate {id} was issued, but {what} could not be written ({error}): run `sluice cert {command} {id}`",
            id = row.id
        ),
    )
}
