//! The CRL file of the broker: written atomically, and inspected.
//!
//! With a missing or malformed file the broker accepts every certificate, or stops; with an expired
//! one it refuses all. So every fault has its own variant. It notifies no broker and repairs
//! nothing.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Crl, CrlError, MAX_CRL_BYTES};
use crate::disk;
use crate::domain::clocks::Clocks;
use crate::domain::time::Timestamp;
use crate::pki::authority::AuthorityCertificate;
use crate::pki::files;

/// The state of the file.
#[derive(Debug)]
pub enum CrlState {
    /// Signed by the authority, valid now, readable for the broker.
    Good(Crl),
    /// Something is wrong with it.
    Bad(CrlFault),
}

/// What is wrong with the file. The texts say what Mosquitto 2.0 does with such a file.
#[derive(Debug, thiserror::Error)]
pub enum CrlFault {
    /// The file does not exist.
    #[error("it is missing")]
    Missing,
    /// Sluice cannot read it.
    #[error("it cannot be read: {0}")]
    Unreadable(io::Error),
    /// The broker, another user, may not read it.
    #[error("its mode is {0:04o}, so the broker cannot read it")]
    Hidden(u32),
    /// No CRL, half a CRL, several.
    #[error("it is damaged: {0}")]
    Garbled(CrlError),
    /// A CRL of another authority.
    #[error("{0}")]
    WrongIssuer(CrlError),
    /// A CRL in the authority's name, signed with another key.
    #[error("{0}")]
    BadSignature(CrlError),
    /// Past its `nextUpdate`.
    #[error("it expired at {0}, so the broker refuses every device")]
    Expired(Timestamp),
    /// Before its `thisUpdate`.
    #[error(
        "it is not valid before {0}, so the broker refuses every device until then: check the \
        clocks"
    )]
    FromTheFuture(Timestamp),
    /// Not the newest CRL: certificates revoked since are accepted.
    #[error("its number is {number}, but number {newest} was published")]
    Outdated {
        /// The one in the file.
        number: u64,
        /// The one that should be.
        newest: u64,
    },
}

/// Writes the CRL in PEM, readable for all users, and replaces an existing file.
pub fn write_crl(path: &Path, crl: &Crl) -> io::Result<()> {
    files::replace(path, crl.to_pem().as_bytes(), files::PUBLIC)
}

/// Inspects the file more strictly than the broker does; `newest` is the number of the CRL
/// published last, if known. The CRL must be valid by both clocks.
pub fn inspect(
    path: &Path,
    authority: &AuthorityCertificate,
    at: impl Into<Clocks>,
    newest: Option<u64>,
) -> CrlState {
    match judge(path, authority, at.into(), newest) {
        Ok(crl) => CrlState::Good(crl),
        Err(fault) => CrlState::Bad(fault),
    }
}

// --- private helpers ---

fn judge(
    path: &Path,
    authority: &AuthorityCertificate,
    at: Clocks,
    newest: Option<u64>,
) -> Result<Crl, CrlFault> {
    let file = disk::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => CrlFault::Missing,
        _ => CrlFault::Unreadable(error),
    })?;
    let mode = file.metadata().map_err(CrlFault::Unreadable)?.permissions().mode() & 0o777;
    let text = files::read_open(&file, MAX_CRL_BYTES).map_err(CrlFault::Unreadable)?;
    // The broker reads PEM only.
    if !text.starts_with(b"-----BEGIN ") {
        return Err(CrlFault::Garbled(CrlError::Garbled));
    }
    let crl = Crl::read(&text, authority).map_err(|error| match error {
        CrlError::WrongIssuer(_) => CrlFault::WrongIssuer(error),
        CrlError::BadSignature => CrlFault::BadSignature(error),
        _ => CrlFault::Garbled(error),
    })?;
    match newest {
        _ if at.earlier() < crl.this_update() => Err(CrlFault::FromTheFuture(crl.this_update())),
        _ if at.later() >= crl.next_update() => Err(CrlFault::Expired(crl.next_update())),
        Some(newest) if crl.number() < newest => {
            Err(CrlFault::Outdated { number: crl.number(), newest })
        }
        _ if mode & 0o004 == 0 => Err(CrlFault::Hidden(mode)),
        _ => Ok(crl),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::pki::authority::Authority;
    use crate::pki::crl::sign::sign;
    use crate::pki::test_samples::{authority, now};

    /// What is found at a file that holds this.
    fn found(
        authority: &Authority,
        content: &[u8],
        seconds_later: i64,
        newest: Option<u64>,
    ) -> CrlState {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("crl.pem");
        files::replace(&path, content, files::PUBLIC).unwrap();
        inspect(&path, authority.certificate(), now().plus_seconds(seconds_later), newest)
    }

    #[test]
    fn a_written_crl_is_valid_and_readable_for_all_users() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("crl.pem");
        let authority = authority();
        for number in [7, 8] {
            write_crl(&path, &sign(&authority, number, &[], 168, now()).unwrap()).unwrap();
            let state = inspect(&path, authority.certificate(), now(), Some(number));
            assert!(matches!(&state, CrlState::Good(crl) if crl.number() == number), "{state:?}");
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let state = inspect(&path, authority.certificate(), now(), None);
        assert!(matches!(state, CrlState::Bad(CrlFault::Hidden(0o600))), "{state:?}");
        fs::remove_file(&path).unwrap();
        assert!(matches!(
            inspect(&path, authority.certificate(), now(), None),
            CrlState::Bad(CrlFault::Missing)
        ));
        fs::create_dir(&path).unwrap();
        assert!(matches!(
            inspect(&path, authority.certificate(), now(), None),
            CrlState::Bad(CrlFault::Unreadable(_))
        ));
    }

    #[test]
    fn every_fault_has_its_own_name() {
        let (ours, theirs) = (authority(), authority());
        let crl = sign(&ours, 5, &[], 168, now()).unwrap();
        let (pem, week) = (crl.to_pem(), 168 * 3600);
        let text = pem.as_bytes();
        assert!(matches!(found(&ours, text, week - 2, Some(5)), CrlState::Good(_)));
        assert!(matches!(found(&ours, text, week, None), CrlState::Bad(CrlFault::Expired(_))));
        assert!(matches!(
            found(&ours, text, -302, None),
            CrlState::Bad(CrlFault::FromTheFuture(_))
        ));
        let outdated = found(&ours, text, 0, Some(6));
        assert!(
            matches!(outdated, CrlState::Bad(CrlFault::Outdated { number: 5, newest: 6 })),
            "{outdated:?}"
        );
        assert!(matches!(found(&theirs, text, 0, None), CrlState::Bad(CrlFault::BadSignature(_))));
        for garbled in
            [&b""[..], b"garbage", &text[..text.len() - 40], crl.der(), pem.repeat(2).as_bytes()]
        {
            assert!(matches!(found(&ours, garbled, 0, None), CrlState::Bad(CrlFault::Garbled(_))));
        }
        let (other, _) =
            crate::pki::authority::create::found(&"Other".parse().unwrap(), 9, now()).unwrap();
        assert!(matches!(found(&other, text, 0, None), CrlState::Bad(CrlFault::WrongIssuer(_))));
    }
}
