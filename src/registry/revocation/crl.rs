//! Makes the CRL from the registry, writes it to the file the broker reads, and decides when the
//! next is due.
//!
//! It notifies no broker. A CRL counts as published only after the file was read back.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use crate::config::sections::certificates::CertificatesConfig;
use crate::disk;
use crate::domain::clocks::{Clocks, MAX_CLOCK_OFFSET_SECONDS};
use crate::domain::ports::Outage;
use crate::domain::time::Timestamp;
use crate::pki::authority::Authority;
use crate::pki::crl::file::{self, CrlState};
use crate::pki::crl::probe_pair::{self, CanaryError};
use crate::pki::crl::{self, Crl, CrlEntry, RevocationReason};
use crate::store::cells::cell_side;
use crate::store::certificates::revocation_ledger::{
    CrlRow, OpenRevocation, RevocationLedger, RevokedRow,
};

const SECONDS_PER_HOUR: i64 = 3600;

/// Why a round failed. The text names the file or the component.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// Postgres failed.
    #[error(transparent)]
    Outage(#[from] Outage),
    /// A round did not end in time.
    #[error(
        "a round of the publisher did not end within {0} s: check for load, locks and slow disks"
    )]
    Stuck(u64),
    /// The authority's files are unusable.
    #[error("the authority cannot sign: {0}")]
    Authority(String),
    /// A probe certificate could not be made.
    #[error(transparent)]
    Canary(#[from] CanaryError),
    /// The file is not the published CRL and could not be replaced.
    #[error("{0}")]
    Unrepaired(String),
    /// The CRL could not be signed or written.
    #[error("the CRL at {path} cannot be published: {why}")]
    File {
        /// `CRL_OUTPUT_PATH`.
        path: String,
        /// The cause.
        why: String,
    },
}

/// Why a new CRL is due; the text is for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishReason {
    /// A certificate was revoked.
    Revoked,
    /// There is no CRL of this authority.
    NewAuthority,
    /// An operator requested one.
    Requested,
    /// The clock that made the last one was ahead.
    ClockWasAhead,
    /// The last one is old.
    Refresh,
    /// This replica has become the publisher.
    NewPublisher,
    /// The file is missing and nothing was published before.
    Missing,
    /// The file is not the published CRL.
    Repair,
}

/// The entries of a CRL, their certificates, and the certificates that cannot be listed.
struct CrlEntries {
    revoked: Vec<CrlEntry>,
    listed: Vec<Uuid>,
    unreadable: Vec<Uuid>,
}

/// A CRL that is in its file and in the database.
#[derive(Debug)]
pub struct PublishedCrl {
    /// The CRL number.
    pub number: u64,
    /// The number of entries.
    pub entries: usize,
    /// The `nextUpdate` of the CRL.
    pub next_update: Timestamp,
    /// Certificates in no CRL, because their serial number cannot be read.
    pub unreadable: Vec<Uuid>,
}

/// Where the CRL belongs. `None`: it has no file, or this cell has not received all rows of the registry
/// yet: its list would lack revocations.
pub async fn path_when_due(
    settings: &CertificatesConfig,
    ledger: &mut RevocationLedger,
) -> Result<Option<PathBuf>, Outage> {
    if settings.crl_output_path.is_none() || cell_side::is_copying(&mut ledger.session).await? {
        return Ok(None);
    }
    Ok(settings.crl_output_path.clone())
}

/// Opens the authority that the settings name. While the clocks differ, it is enough if it is valid
/// by one of them.
pub async fn authority(
    settings: &CertificatesConfig,
    at: Clocks,
) -> Result<Arc<Authority>, ListError> {
    let (Some(cert), Some(key)) = (settings.ca_cert_path.clone(), settings.ca_key_path.clone())
    else {
        return Err(ListError::Authority(
            "set DEVICE_CA_CERT_PATH and DEVICE_CA_KEY_PATH".to_owned(),
        ));
    };
    let path = cert.clone();
    let opened = run_blocking(&path, move || {
        let opened = Authority::open(&cert, &key, at.own);
        let opened = opened.or_else(|error| {
            if at.agree() { Err(error) } else { Authority::open(&cert, &key, at.database) }
        });
        opened.map_err(|error| error.timeless())
    });
    opened.await.map(Arc::new).map_err(ListError::Authority)
}

/// Refuses an authority that has expired by both clocks: the broker would accept none of its CRLs.
pub fn check_end(authority: &Authority, at: Clocks) -> Result<(), ListError> {
    let end = authority.certificate().ends();
    if at.earlier() < end {
        return Ok(());
    }
    let name = authority.certificate().name();
    Err(ListError::Authority(format!(
        "the certificate of {name} expired at {end}: make a new authority in new files (`sluice ca \
         init`)"
    )))
}

/// Checks the file. Returns its CRL number, or what is wrong; any CRL except the last published one
/// is wrong.
pub async fn check_file(
    authority: &Arc<Authority>,
    path: &Path,
    newest: i64,
    last: Option<Vec<u8>>,
    at: Clocks,
) -> Result<u64, String> {
    let (authority, place) = (Arc::clone(authority), path.to_owned());
    let newest = u64::try_from(newest).ok();
    run_blocking(path, move || match file::inspect(&place, authority.certificate(), at, newest) {
        CrlState::Bad(fault) => Err(fault.to_string()),
        CrlState::Good(crl) if last.is_some_and(|last| last != crl.der()) => Err(format!(
            "it is not the CRL that was published last, but another one with number {}",
            crl.number()
        )),
        CrlState::Good(crl) => Ok(crl.number()),
    })
    .await
}

/// Why another CRL is due, whatever the file holds; `None` means that none is. The hours are those
/// of validity and refresh. The age is derived from the CRL's own dates: the clock that recorded
/// its publication may have been wrong.
pub fn is_due(
    state: &CrlRow,
    issuer: &str,
    (validity_hours, refresh_hours): (u32, u32),
    at: Clocks,
) -> Option<PublishReason> {
    let next_update =
        state.next_update.filter(|_| state.issuer.as_deref() == Some(issuer)).map(Timestamp::from);
    let (Some(next_update), Some(published)) = (next_update, state.published_at) else {
        return Some(PublishReason::NewAuthority);
    };
    if state.requested_at.is_some_and(|requested| requested > published) {
        return Some(PublishReason::Requested);
    }
    let made = next_update.plus_seconds(-i64::from(validity_hours) * SECONDS_PER_HOUR);
    if made.seconds_since(at.later()) > MAX_CLOCK_OFFSET_SECONDS {
        return Some(PublishReason::ClockWasAhead);
    }
    let refresh = i64::from(refresh_hours) * SECONDS_PER_HOUR;
    let refresh_at = made.plus_seconds(refresh.min(probe_pair::VALIDITY_SECONDS / 2));
    (at.later() >= refresh_at).then_some(PublishReason::Refresh)
}

/// Whether `open` holds a certificate that is in no CRL yet. Those in `unreadable` do not count.
pub fn has_unlisted(open: &[OpenRevocation], unreadable: &[Uuid]) -> bool {
    open.iter().any(|one| one.crl_number.is_none() && !unreadable.contains(&one.certificate_id))
}

/// Signs a CRL of all revoked certificates, writes it, reads it back and notes it. Only the
/// publisher may call it.
pub async fn publish(
    ledger: &mut RevocationLedger,
    authority: &Arc<Authority>,
    settings: &CertificatesConfig,
    in_file: u64,
    at: Clocks,
) -> Result<PublishedCrl, ListError> {
    let issuer = authority.certificate().name().to_owned();
    let path = settings.crl_output_path.clone().unwrap_or_default();
    let number = ledger.next_number(in_file).await?;
    let CrlEntries { revoked, listed, unreadable } =
        entries(&ledger.revoked(&issuer, at.earlier()).await?);
    let (signer, hours, place) = (Arc::clone(authority), settings.crl_validity_hours, path.clone());
    let written =
        run_blocking(&path, move || write(&signer, &place, number, &revoked, hours, at)).await;
    let crl = written.map_err(|why| ListError::File { path: path.display().to_string(), why })?;
    let list = CrlRow {
        issuer: Some(issuer),
        crl_number: i64::try_from(number).unwrap_or(i64::MAX),
        entries: i64::try_from(crl.entries().len()).unwrap_or(i64::MAX),
        next_update: Some(crl.next_update().to_utc()),
        ..CrlRow::default()
    };
    ledger.note_published(&list, crl.der(), &listed).await?;
    Ok(PublishedCrl {
        number,
        entries: crl.entries().len(),
        next_update: crl.next_update(),
        unreadable,
    })
}

/// Signs a CRL of another authority into `path`, such as the list of a cell or of a root whose key is
/// offline. The broker is not notified, and the state of this database's CRL does not change.
pub async fn sign_into(
    ledger: &mut RevocationLedger,
    authority: &Arc<Authority>,
    path: &Path,
    validity_hours: u32,
    at: Clocks,
) -> Result<PublishedCrl, ListError> {
    let issuer = authority.certificate().name().to_owned();
    let in_file = check_file(authority, path, 0, None, at).await.unwrap_or_default();
    let number = ledger.next_number(in_file).await?;
    let rows = ledger.revoked(&issuer, at.earlier()).await?;
    let CrlEntries { revoked, unreadable, .. } = entries(&rows);
    let (signer, place) = (Arc::clone(authority), path.to_owned());
    let write = move || write(&signer, &place, number, &revoked, validity_hours, at);
    let written = run_blocking(path, write).await;
    let crl = written.map_err(|why| ListError::File { path: path.display().to_string(), why })?;
    let (entries, next_update) = (crl.entries().len(), crl.next_update());
    Ok(PublishedCrl { number, entries, next_update, unreadable })
}

// === impl PublishReason ===

impl fmt::Display for PublishReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Revoked => "a certificate was revoked",
            Self::NewAuthority => "the authority has no CRL yet",
            Self::Requested => "a new CRL was requested",
            Self::ClockWasAhead => "the last CRL was made by a clock that was ahead",
            Self::Refresh => "the last CRL is due for a refresh",
            Self::NewPublisher => "this replica has become the publisher",
            Self::Missing => "there is no CRL file yet",
            Self::Repair => "the CRL file was not the published CRL",
        })
    }
}

// --- private helpers ---

fn write(
    authority: &Authority,
    path: &Path,
    number: u64,
    revoked: &[CrlEntry],
    validity_hours: u32,
    at: Clocks,
) -> Result<Crl, String> {
    let crl = crl::sign::sign(authority, number, revoked, validity_hours, at)
        .map_err(|error| error.to_string())?;
    file::write_crl(path, &crl)
        .map_err(|error| format!("{error}; check the directory and its permissions"))?;
    match file::inspect(path, authority.certificate(), at, Some(number)) {
        CrlState::Good(found) if found == crl => Ok(crl),
        CrlState::Good(_) => Err("another program writes to the same file".to_owned()),
        CrlState::Bad(fault) => Err(fault.to_string()),
    }
}

fn entries(rows: &[RevokedRow]) -> CrlEntries {
    let mut entries = CrlEntries {
        revoked: Vec::with_capacity(rows.len()),
        listed: Vec::new(),
        unreadable: Vec::new(),
    };
    for row in rows {
        let Ok(serial) = row.serial_number.parse() else {
            entries.unreadable.extend(row.id);
            continue;
        };
        let reason = row.revoked_reason.as_deref().and_then(RevocationReason::from_label);
        let reason = reason.unwrap_or(RevocationReason::Unspecified);
        entries.revoked.push(CrlEntry { serial, revoked_at: row.revoked_at.into(), reason });
        entries.listed.extend(row.id);
    }
    entries
}

/// Runs file access and signing on a blocking thread.
async fn run_blocking<T: Send + 'static>(
    path: &Path,
    task: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    disk::run(path, task).await.unwrap_or_else(|error| Err(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A CRL valid for a week, made `hours_ago`.
    fn published(hours_ago: i64) -> CrlRow {
        let at = now().plus_seconds(-hours_ago * SECONDS_PER_HOUR);
        let next_update = Some(at.plus_seconds(168 * SECONDS_PER_HOUR).to_utc());
        CrlRow {
            issuer: Some("CN=a".into()),
            published_at: Some(at.to_utc()),
            next_update,
            ..CrlRow::default()
        }
    }

    fn now() -> Timestamp {
        Timestamp::from_micros(1_800_000_000_000_000)
    }

    /// Why a CRL is due for this authority, which makes CRLs valid for a week.
    fn due(state: &CrlRow, issuer: &str, refresh_hours: u32, at: Clocks) -> Option<PublishReason> {
        is_due(state, issuer, (168, refresh_hours), at)
    }

    #[test]
    fn another_crl_is_due_for_another_authority_on_request_and_with_age() {
        let at = Clocks::from(now());
        assert_eq!(due(&CrlRow::default(), "CN=a", 12, at), Some(PublishReason::NewAuthority));
        assert_eq!(due(&published(11), "CN=b", 12, at), Some(PublishReason::NewAuthority));
        assert_eq!(due(&published(11), "CN=a", 12, at), None);
        assert_eq!(due(&published(12), "CN=a", 12, at), Some(PublishReason::Refresh));
        // The probe certificates expire before a long refresh interval ends.
        assert_eq!(due(&published(24), "CN=a", 1000, at), Some(PublishReason::Refresh));
        let requested = |seconds| CrlRow {
            requested_at: Some(now().plus_seconds(seconds).to_utc()),
            ..published(1)
        };
        assert_eq!(due(&requested(-10), "CN=a", 12, at), Some(PublishReason::Requested));
        assert_eq!(due(&requested(-3700), "CN=a", 12, at), None);
    }

    #[test]
    fn a_crl_made_by_clocks_that_differ_is_due_again_when_they_agree() {
        let days = 40 * 24;
        for own in [days, -days] {
            let at = Clocks { own: now().plus_seconds(own * SECONDS_PER_HOUR), database: now() };
            let made = now().plus_seconds(own.max(0) * SECONDS_PER_HOUR + 168 * SECONDS_PER_HOUR);
            let list = CrlRow { next_update: Some(made.to_utc()), ..published(0) };
            assert_eq!(due(&list, "CN=a", 12, at), None, "{own}");
            let expected = (own > 0).then_some(PublishReason::ClockWasAhead);
            assert_eq!(due(&list, "CN=a", 12, now().into()), expected, "{own}");
        }
    }

    #[test]
    fn an_unreadable_serial_number_keeps_no_other_out_of_the_crl() {
        let row = |serial: &str, reason: Option<&str>| RevokedRow {
            id: Some(Uuid::new_v4()),
            serial_number: serial.to_owned(),
            revoked_at: now().to_utc(),
            revoked_reason: reason.map(str::to_owned),
        };
        let found = entries(&[
            row("0a", Some("KEYCOMPROMISE")),
            row("what", None),
            row("0b", Some("because")),
        ]);
        assert_eq!((found.revoked.len(), found.listed.len(), found.unreadable.len()), (2, 2, 1));
        assert_eq!(found.revoked[0].reason, RevocationReason::KeyCompromise);
        assert_eq!(found.revoked[1].reason, RevocationReason::Unspecified);
    }
}
