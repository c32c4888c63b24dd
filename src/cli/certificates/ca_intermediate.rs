//! `sluice ca issue-intermediate`: creates the files of an intermediate authority, each once.
//!
//! It overwrites nothing. The root's key signs once, and can go back to its safe place afterwards.

use std::path::{Path, PathBuf};

use clap::{Args, value_parser};

use super::authority_paths::{AuthorityPaths, unusable};
use super::ca_init::{self, AuthorityFile, FIRST_CRL_NUMBER, exists, write_new};
use crate::clock;
use crate::command::failure::{Exit, Failure};
use crate::command::table::OutputFormat;
use crate::config::sections::certificates::CertificatesConfig;
use crate::pki::authority::Authority;
use crate::pki::authority::create::{AuthorityName, CreateAuthorityError};
use crate::pki::authority::intermediate;
use crate::pki::{crl, files};

/// What to create.
#[derive(Clone, Debug, Args)]
pub struct IntermediateArgs {
    /// The display name of the intermediate authority, such as the cell's
    #[arg(long)]
    name: AuthorityName,
    /// The file for its certificate and those above it: `DEVICE_CA_CERT_PATH` and the broker's
    /// `cafile` in the cell
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// The file for its key: `DEVICE_CA_KEY_PATH` in the cell
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The file for its first CRL: `CRL_OUTPUT_PATH` and the broker's `crlfile` in the cell
    #[arg(long, value_name = "FILE")]
    crl: Option<PathBuf>,
    /// A file for its certificate alone. Devices send it after their own when the broker's `cafile` has
    /// only the root
    #[arg(long, value_name = "FILE")]
    device_chain: Option<PathBuf>,
    /// How long it is valid; it ends no later than the root
    #[arg(long, default_value_t = 1095, value_parser = value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// The root's certificate, instead of `DEVICE_CA_CERT_PATH`
    #[arg(long, value_name = "FILE")]
    root_cert: Option<PathBuf>,
    /// The root's key, instead of `DEVICE_CA_KEY_PATH`
    #[arg(long, value_name = "FILE")]
    root_key: Option<PathBuf>,
}

/// Runs the command.
pub fn run(
    args: &IntermediateArgs,
    settings: &CertificatesConfig,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let now = clock::now();
    let root =
        AuthorityPaths { cert: args.root_cert.clone(), key: args.root_key.clone(), crl: None };
    let root = root.or(settings);
    let (root_cert, root_key) = (root.cert()?, root.key()?);
    let new = [Some(&args.cert), Some(&args.key), args.crl.as_ref(), args.device_chain.as_ref()];
    if let Some(taken) = new.into_iter().flatten().find(|path| exists(path)) {
        return Err(Failure::usage(format!(
            "{} exists, and nothing was signed: name another file, or move the existing one",
            taken.display()
        )));
    }
    let above =
        Authority::open(root_cert, root_key, now).map_err(|why| unusable(root_cert, &why))?;
    let (authority, secret) =
        intermediate::issue(&above, &args.name, args.days, now).map_err(not_issued)?;
    let mut items = Vec::new();
    // The certificate is written last: where it exists, the rest exists.
    write_new(&args.key, secret.expose(), files::PRIVATE)?;
    if let Some(path) = args.crl.as_deref() {
        write_crl(path, &authority, settings.crl_validity_hours)?;
        items.push(AuthorityFile::made("CRL", path, "the cell's `crlfile`; empty"));
    }
    if let Some(path) = args.device_chain.as_deref() {
        write_new(path, &authority.certificate().certificate().to_pem(), files::PUBLIC)?;
        let note = "devices send it after their own certificate";
        items.push(AuthorityFile::made("chain for devices", path, note));
    }
    write_new(&args.cert, &authority.certificate().bundle_pem(), files::PUBLIC)?;
    let note = "DEVICE_CA_CERT_PATH and the `cafile` of the broker in the cell";
    items.push(AuthorityFile::made("intermediate authority", &args.cert, note));
    let note = "DEVICE_CA_KEY_PATH in the cell; keep a copy in a place that only you can read";
    items.push(AuthorityFile::made("its key", &args.key, note));
    ca_init::print(&items, output)?;
    Ok(Exit::Done)
}

// --- private helpers ---

fn write_crl(path: &Path, authority: &Authority, hours: u32) -> Result<(), Failure> {
    let list = crl::sign::sign(authority, FIRST_CRL_NUMBER, &[], hours, clock::now())
        .map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
    write_new(path, &list.to_pem(), files::PUBLIC)
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` hands it over")]
fn not_issued(error: CreateAuthorityError) -> Failure {
    let exit = match error {
        CreateAuthorityError::Days(_) | CreateAuthorityError::SameName(_) => Exit::Usage,
        CreateAuthorityError::PathLength(_) => Exit::Config,
        _ => Exit::Internal,
    };
    Failure::new(exit, format!("nothing was signed: {error}"))
}
