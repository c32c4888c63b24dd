//! `sluice ca init`: creates the files of a new authority, each once.
//!
//! It overwrites nothing. Existing files are checked and kept; half of a pair is refused, because a
//! new half would not fit. It writes an empty CRL for a new authority only: for an existing one
//! that would admit revoked certificates.

use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::{Args, value_parser};
use serde::Serialize;

use super::authority_paths::{AuthorityPaths, crl_state, unusable};
use crate::clock;
use crate::command::failure::{Exit, Failure};
use crate::command::table::{OutputFormat, rows};
use crate::config::sections::certificates::CertificatesConfig;
use crate::domain::time::Timestamp;
use crate::pki::authority::Authority;
use crate::pki::authority::broker_certificate::{self, ServerName};
use crate::pki::authority::create::{self, AuthorityName};
use crate::pki::certificate::Certificate;
use crate::pki::key::PrivateKeyPem;
use crate::pki::serial::Serial;
use crate::pki::{crl, files};

/// The number of an authority's first CRL.
pub(super) const FIRST_CRL_NUMBER: u64 = 1;
/// Names of the files created for the broker.
const SERVER_FILES: [&str; 4] = ["server-ca.crt", "server-ca.key", "server.crt", "server.key"];

/// What to create.
#[derive(Clone, Debug, Args)]
pub struct InitArgs {
    #[command(flatten)]
    paths: AuthorityPaths,
    /// The authority's display name
    #[arg(long, default_value = "Sluice device CA")]
    name: AuthorityName,
    /// How long the authority is valid; no device's certificate is valid longer
    #[arg(long, default_value_t = 3650, value_parser = value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// Let the authority sign intermediate authorities, one for each cell, besides devices
    #[arg(long)]
    intermediates: bool,
    /// Write an empty CRL for an existing authority; use it only if it never revoked a certificate
    #[arg(long)]
    empty_crl: bool,
    /// A host name or address at which devices reach the broker: also creates the broker's
    /// certificate and an authority for it; may be repeated
    #[arg(long = "server-name", value_name = "NAME")]
    server_names: Vec<ServerName>,
    /// The directory for the broker's certificate; by default that of the authority's certificate
    #[arg(long, value_name = "DIR", requires = "server_names")]
    server_dir: Option<PathBuf>,
    /// How long the broker's certificate is valid
    #[arg(long, value_name = "DAYS", default_value_t = 825, value_parser = value_parser!(u32).range(1..=36_500))]
    server_days: u32,
}

/// One file and its state after the run.
#[derive(Debug, Serialize)]
pub(super) struct AuthorityFile {
    what: &'static str,
    path: PathBuf,
    state: FileState,
    note: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum FileState {
    Made,
    Kept,
    Missing,
    Bad,
    Unset,
}

/// Runs the command.
pub fn run(
    args: &InitArgs,
    settings: &CertificatesConfig,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let now = clock::now();
    let paths = args.paths.or(settings);
    let (cert, key) = (paths.cert()?, paths.key()?);
    let hours = settings.crl_validity_hours;
    let mut items = Vec::new();
    if both_or_neither(cert, key)? {
        let authority = Authority::open(cert, key, now).map_err(|error| unusable(cert, &error))?;
        items.extend([AuthorityFile::kept("authority", cert), AuthorityFile::kept("key", key)]);
        items.push(crl_of_existing(&authority, paths.crl.as_deref(), args.empty_crl, hours, now)?);
    } else {
        create_authority(args, cert, key, paths.crl.as_deref(), hours, now, &mut items)?;
    }
    if !args.server_names.is_empty() {
        let beside = cert.parent().unwrap_or(Path::new("")).to_owned();
        create_broker_certificate(
            args,
            args.server_dir.as_ref().unwrap_or(&beside),
            now,
            &mut items,
        )?;
    }
    print(&items, output)?;
    let is_bad = items.iter().any(|item| matches!(item.state, FileState::Missing | FileState::Bad));
    Ok(if is_bad { Exit::Negative } else { Exit::Done })
}

/// Prints the files and their states.
pub(super) fn print(items: &[AuthorityFile], output: OutputFormat) -> io::Result<()> {
    rows(output, &["WHAT", "FILE", "STATE", "NOTE"], items, |item| {
        vec![
            item.what.to_owned(),
            item.path.display().to_string(),
            item.state.label().to_owned(),
            item.note.clone(),
        ]
    })
}

// === impl AuthorityFile, FileState ===

impl AuthorityFile {
    fn new(what: &'static str, path: &Path, state: FileState, note: &str) -> Self {
        Self { what, path: path.to_owned(), state, note: note.to_owned() }
    }

    fn kept(what: &'static str, path: &Path) -> Self {
        Self::new(what, path, FileState::Kept, "")
    }

    pub(super) fn made(what: &'static str, path: &Path, note: &str) -> Self {
        Self::new(what, path, FileState::Made, note)
    }
}

impl FileState {
    const fn label(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::Kept => "kept",
            Self::Missing => "missing",
            Self::Bad => "bad",
            Self::Unset => "unset",
        }
    }
}

// --- private helpers ---

fn create_authority(
    args: &InitArgs,
    cert: &Path,
    key: &Path,
    crl: Option<&Path>,
    hours: u32,
    now: Timestamp,
    items: &mut Vec<AuthorityFile>,
) -> Result<(), Failure> {
    if let Some(crl) = crl.filter(|path| exists(path)) {
        let crl = crl.display();
        return Err(Failure::usage(format!(
            "{crl} exists, but its authority does not: restore {} and its key, or move {crl} away",
            cert.display()
        )));
    }
    let found = if args.intermediates { create::found_root } else { create::found };
    let (authority, secret) = found(&args.name, args.days, now).map_err(internal)?;
    let list = crl::sign::sign(&authority, FIRST_CRL_NUMBER, &[], hours, now).map_err(internal)?;
    // The certificate is written last: where it exists, the rest exists.
    write_new(key, secret.expose(), files::PRIVATE)?;
    if let Some(path) = crl {
        write_new(path, &list.to_pem(), files::PUBLIC)?;
    }
    write_new(cert, &authority.certificate().bundle_pem(), files::PUBLIC)?;
    items.push(AuthorityFile::made("authority", cert, "the broker's `cafile`"));
    items.push(AuthorityFile::made("key", key, "keep a copy in a place that only you can read"));
    items.push(match crl {
        Some(path) => AuthorityFile::made("CRL", path, "the broker's `crlfile`; empty"),
        None => no_crl_path(),
    });
    Ok(())
}

fn crl_of_existing(
    authority: &Authority,
    path: Option<&Path>,
    make_empty: bool,
    hours: u32,
    now: Timestamp,
) -> Result<AuthorityFile, Failure> {
    let Some(path) = path else { return Ok(no_crl_path()) };
    if exists(path) {
        return Ok(match crl_state(path, authority.certificate(), now) {
            Ok(good) => AuthorityFile::new("CRL", path, FileState::Kept, &good),
            Err(bad) => AuthorityFile::new(
                "CRL",
                path,
                FileState::Bad,
                &format!("{bad}; `sluice run` writes a new one"),
            ),
        });
    }
    if !make_empty {
        let note = "not written: an empty CRL would admit revoked devices. `sluice run` writes it from the registry; \
                    --empty-crl writes it if no certificate was ever revoked";
        return Ok(AuthorityFile::new("CRL", path, FileState::Missing, note));
    }
    let list = crl::sign::sign(authority, FIRST_CRL_NUMBER, &[], hours, now).map_err(internal)?;
    write_new(path, &list.to_pem(), files::PUBLIC)?;
    Ok(AuthorityFile::made("CRL", path, "the broker's `crlfile`; empty"))
}

fn no_crl_path() -> AuthorityFile {
    let note =
        "no file is named (--crl FILE or CRL_OUTPUT_PATH): the broker does not see any revocation";
    AuthorityFile::new("CRL", Path::new("-"), FileState::Unset, note)
}

fn create_broker_certificate(
    args: &InitArgs,
    dir: &Path,
    now: Timestamp,
    items: &mut Vec<AuthorityFile>,
) -> Result<(), Failure> {
    let [ca_cert, ca_key, cert, key] = SERVER_FILES.map(|name| dir.join(name));
    if both_or_neither(&cert, &key)? {
        items.push(kept_server(&cert, now)?);
        items.push(AuthorityFile::kept("broker's key", &key));
        return Ok(());
    }
    let has_authority = both_or_neither(&ca_cert, &ca_key)?;
    let (authority, secret): (Authority, Option<PrivateKeyPem>) = if has_authority {
        (Authority::open(&ca_cert, &ca_key, now).map_err(|error| unusable(&ca_cert, &error))?, None)
    } else {
        let name: AuthorityName = "Sluice server CA".parse().map_err(internal)?;
        let (authority, secret) = create::found(&name, args.days, now).map_err(internal)?;
        (authority, Some(secret))
    };
    let serial = Serial::random().map_err(internal)?;
    let (signed, server_secret) = broker_certificate::sign_server(
        &authority,
        &args.server_names,
        &serial,
        args.server_days,
        now,
    )
    .map_err(internal)?;
    let state = if secret.is_some() { FileState::Made } else { FileState::Kept };
    if let Some(secret) = secret {
        write_new(&ca_key, secret.expose(), files::PRIVATE)?;
        write_new(&ca_cert, &authority.certificate().bundle_pem(), files::PUBLIC)?;
    }
    write_new(&key, server_secret.expose(), files::PRIVATE)?;
    write_new(&cert, &signed.to_pem(), files::PUBLIC)?;
    items.extend(broker_files([&ca_cert, &ca_key, &cert, &key], state));
    Ok(())
}

/// The four files of the broker's TLS, each with its use.
fn broker_files(
    [ca_cert, ca_key, cert, key]: [&Path; 4],
    authority: FileState,
) -> [AuthorityFile; 4] {
    let use_of_ca = "devices verify the broker with it";
    let use_of_ca_key = "needed only to renew the broker's certificate";
    let use_of_key = "the broker's `keyfile`: give it to the broker's user with chown";
    [
        AuthorityFile::new("broker's authority", ca_cert, authority, use_of_ca),
        AuthorityFile::new("its key", ca_key, authority, use_of_ca_key),
        AuthorityFile::made("broker's certificate", cert, "the broker's `certfile`"),
        AuthorityFile::made("broker's key", key, use_of_key),
    ]
}

fn kept_server(cert: &Path, now: Timestamp) -> Result<AuthorityFile, Failure> {
    let text = files::read(cert, crl::MAX_CRL_BYTES).map_err(|error| unusable(cert, &error))?;
    let certificate = Certificate::from_pem(&text).map_err(|error| unusable(cert, &error))?;
    if now < certificate.not_after() {
        return Ok(AuthorityFile::kept("broker's certificate", cert));
    }
    let note = format!(
        "it expired at {}: remove it and its key, and run this command again",
        certificate.not_after()
    );
    Ok(AuthorityFile::new("broker's certificate", cert, FileState::Bad, &note))
}

/// Whether both files of a pair exist; half a pair is an error.
fn both_or_neither(cert: &Path, key: &Path) -> Result<bool, Failure> {
    let (existing, missing) = match (exists(cert), exists(key)) {
        (true, false) => (cert, key),
        (false, true) => (key, cert),
        (both, _) => return Ok(both),
    };
    Err(Failure::usage(format!(
        "{} exists, but {} does not, and a new one would not match it: restore the missing file, or move the first one away",
        existing.display(),
        missing.display()
    )))
}

/// Whether `path` exists, a dangling link included.
pub(super) fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

pub(super) fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let parent = path.parent().unwrap_or(Path::new(""));
    let written =
        fs::create_dir_all(parent).and_then(|()| files::create(path, text.as_bytes(), mode));
    written.map_err(|error| unusable(path, &format!("cannot write it: {error}")))
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` hands it over")]
fn internal(error: impl ToString) -> Failure {
    Failure::new(Exit::Internal, error.to_string())
}
