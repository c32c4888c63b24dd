//! Warns before an authority ends.
//!
//! After its end it signs nothing and the broker refuses every device, so the warning starts early.
//! It reads no clock.

use std::path::Path;

use super::AuthorityCertificate;
use super::error::AuthorityError;
use crate::domain::time::Timestamp;

/// Days before its end from which on an authority is reported.
pub const AUTHORITY_WARNING_DAYS: i64 = 90;

const SECONDS_PER_DAY: i64 = 86_400;

const PAST: &str = "Sluice can sign no certificate and no CRL, and the broker refuses every device";

const ADVICE: &str = "make a new authority in new files (`sluice ca init`), let the broker trust \
    both, and issue new certificates";

/// The state of an authority's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorityEnd {
    /// It ends at this time, later than the warning period.
    Far(Timestamp),
    /// It ends at this time, within the warning period; with a text.
    Near(Timestamp, String),
    /// It ended at this time and signs nothing; with a text.
    Past(Timestamp, String),
    /// Its certificate cannot be used for another reason.
    Unknown(String),
}

// === impl AuthorityEnd ===

impl AuthorityEnd {
    /// Reads the certificate in the file `path`.
    pub fn of_file(path: &Path, now: Timestamp) -> Self {
        match AuthorityCertificate::open(path, now) {
            Ok(authority) => Self::of(&authority, now),
            Err(AuthorityError::NotNow { subject, until, now, .. }) if now >= until => Self::Past(
                until,
                format!("the authority {subject} expired at {until}: {PAST}; {ADVICE}"),
            ),
            Err(error) => Self::Unknown(error.timeless()),
        }
    }

    /// Checks an authority that is valid now.
    pub fn of(authority: &AuthorityCertificate, now: Timestamp) -> Self {
        let (end, name) = (authority.ends(), authority.name());
        if end > now.plus_seconds(AUTHORITY_WARNING_DAYS * SECONDS_PER_DAY) {
            return Self::Far(end);
        }
        let days = (end.micros() - now.micros()) / (SECONDS_PER_DAY * 1_000_000);
        let what = format!(
            "the authority {name} expires at {end}, in {days} days. Certificates issued now \
             expire with it. After that, {PAST}; {ADVICE}"
        );
        Self::Near(end, what)
    }

    /// When it ends or ended; `None` means unknown.
    pub const fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Far(end) | Self::Near(end, _) | Self::Past(end, _) => Some(*end),
            Self::Unknown(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::test_samples::{DAY, authority_of, now};

    #[test]
    fn an_authority_is_reported_ninety_days_before_its_end() {
        let (far, near) = (authority_of(91), authority_of(89));
        assert!(matches!(AuthorityEnd::of(far.certificate(), now()), AuthorityEnd::Far(_)));
        let AuthorityEnd::Near(end, what) = AuthorityEnd::of(near.certificate(), now()) else {
            panic!("it is near")
        };
        assert_eq!(end, near.certificate().ends());
        assert!(what.contains("in 88 days") || what.contains("in 89 days"), "{what}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.crt");
        std::fs::write(&path, near.certificate().bundle_pem()).unwrap();
        let past = AuthorityEnd::of_file(&path, now().plus_seconds(90 * DAY));
        assert!(
            matches!(&past, AuthorityEnd::Past(at, what) if *at == end && what.contains("expired at")),
            "{past:?}"
        );
        assert!(matches!(
            AuthorityEnd::of_file(&dir.path().join("none"), now()),
            AuthorityEnd::Unknown(_)
        ));
    }
}
