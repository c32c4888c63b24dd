//! Signs a CRL and reads it back, so that none leaves that differs from its input.
//!
//! It writes no file and chooses no number.

use rcgen::{CertificateRevocationListParams, RevokedCertParams, SerialNumber};

use super::{Crl, CrlEntry, CrlError, RevocationReason};
use crate::domain::clocks::Clocks;
use crate::domain::time::Timestamp;
use crate::pki::authority::Authority;
use crate::pki::{BACKDATING_SECONDS, x509_time};

/// A longer CRL omits the reasons, which are optional: the broker reads it in half the time, and answers
/// nobody meanwhile. The registry keeps them.
pub const REASONED_ENTRIES: usize = 10_000;

const SECONDS_PER_HOUR: i64 = 3600;

/// Signs a CRL that is valid for `hours` hours by both clocks. A duplicate entry is written once,
/// with its earlier date.
pub fn sign(
    authority: &Authority,
    number: u64,
    revoked: &[CrlEntry],
    validity_hours: u32,
    at: impl Into<Clocks>,
) -> Result<Crl, CrlError> {
    let entries = in_order(revoked);
    let at: Clocks = at.into();
    // A CRL that is not valid by the broker's clock locks every device out, so it is valid by both
    // clocks.
    let this_update = x509_time::whole_second(at.earlier()).plus_seconds(-BACKDATING_SECONDS);
    let next_update = x509_time::whole_second(at.later())
        .plus_seconds(i64::from(validity_hours) * SECONDS_PER_HOUR);
    let params = CertificateRevocationListParams {
        this_update: date(this_update)?.to_datetime(),
        next_update: date(next_update)?.to_datetime(),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: entries.iter().map(written).collect::<Result<_, _>>()?,
        key_identifier_method: authority.key_id_method(),
    };
    let signed = params.signed_by(authority.issuer()).map_err(CrlError::Sign)?;
    let crl = Crl::read(signed.der(), authority.certificate())?;
    let is_meant = [
        (crl.number == number, "the number differs"),
        (crl.this_update == this_update && crl.next_update == next_update, "the dates differ"),
        (crl.has_key_id, "the authority's key identifier is missing"),
        (crl.entries == entries, "the entries differ"),
    ];
    match is_meant.into_iter().find(|(holds, _)| !holds) {
        Some((_, why)) => Err(CrlError::Lint(why)),
        None => Ok(crl),
    }
}

// --- private helpers ---

fn date(time: Timestamp) -> Result<x509_parser::time::ASN1Time, CrlError> {
    x509_time::to_x509(time).ok_or(CrlError::Sign(rcgen::Error::Time))
}

fn in_order(revoked: &[CrlEntry]) -> Vec<CrlEntry> {
    let second = |entry: &CrlEntry| CrlEntry {
        revoked_at: x509_time::whole_second(entry.revoked_at),
        ..entry.clone()
    };
    let mut entries: Vec<CrlEntry> = revoked.iter().map(second).collect();
    entries.sort_by(|one, other| {
        (&one.serial, one.revoked_at).cmp(&(&other.serial, other.revoked_at))
    });
    entries.dedup_by(|later, earlier| later.serial == earlier.serial);
    if entries.len() > REASONED_ENTRIES {
        for entry in &mut entries {
            entry.reason = RevocationReason::Unspecified;
        }
    }
    entries
}

fn written(entry: &CrlEntry) -> Result<RevokedCertParams, CrlError> {
    Ok(RevokedCertParams {
        serial_number: SerialNumber::from_slice(entry.serial.magnitude()),
        revocation_time: date(entry.revoked_at)?.to_datetime(),
        reason_code: Some(entry.reason.code()),
        invalidity_date: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::crl::tests::entry;
    use crate::pki::test_samples::{authority, now};

    #[test]
    fn a_certificate_that_was_revoked_twice_stands_once_with_the_earlier_date() {
        let twice = [
            entry(&[5], 10, RevocationReason::Superseded),
            entry(&[5], 90, RevocationReason::KeyCompromise),
        ];
        let crl = sign(&authority(), 2, &twice, 7, now()).unwrap();
        assert_eq!(crl.entries().len(), 1);
        assert_eq!(crl.entries()[0].reason, RevocationReason::KeyCompromise);
    }

    #[test]
    fn a_long_list_reads_back_too() {
        let many: Vec<CrlEntry> = (1..=5000_u32)
            .map(|serial| entry(&serial.to_be_bytes(), 5, RevocationReason::Superseded))
            .collect();
        assert_eq!(sign(&authority(), 1, &many, 168, now()).unwrap().entries(), in_order(&many));
    }

    #[test]
    fn a_very_long_list_has_every_serial_and_no_reason() {
        let many: Vec<CrlEntry> = (1..=u32::try_from(REASONED_ENTRIES).unwrap() + 1)
            .map(|serial| entry(&serial.to_be_bytes(), 5, RevocationReason::Superseded))
            .collect();
        let crl = sign(&authority(), 1, &many, 168, now()).unwrap();
        assert_eq!(crl.entries().len(), many.len());
        assert!(crl.entries().iter().all(|entry| entry.reason == RevocationReason::Unspecified));
    }
}
