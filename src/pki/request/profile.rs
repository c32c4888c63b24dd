//! The profile of device certificates, and the plan of one certificate. It signs nothing.
//!
//! X.509 v3; a serial number of 128 random bits; CA:false, critical; key usage digitalSignature,
//! critical; extended key usage clientAuth; the key identifiers of both; the common name; the URN
//! as the one alternative name. It begins five minutes back and ends no later than the authority. A
//! plan is complete before anything is signed, so that it can be stored first.

use rcgen::{
    CertificateParams, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SanType, SerialNumber,
};

use super::identity::{self, IdentityTooLong};
use crate::config::sections::certificates::CnFormat;
use crate::domain::ids::DeviceKey;
use crate::domain::time::Timestamp;
use crate::pki::BACKDATING_SECONDS;
use crate::pki::authority::AuthorityCertificate;
use crate::pki::serial::Serial;
use crate::pki::x509_time;

const SECONDS_PER_DAY: i64 = 86_400;

/// The form and lifetime of device certificates.
#[derive(Clone, Copy, Debug)]
pub struct CertificateProfile {
    /// The form of the common name.
    pub cn_format: CnFormat,
    /// The default lifetime, in days.
    pub validity_days: u32,
}

/// The requested lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// The profile's default, shortened to the end of the authority.
    Usual,
    /// This number of days; an error if the authority ends before.
    Days(u32),
}

/// The plan of one device's certificate: all but the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    device: DeviceKey,
    common_name: String,
    urn: String,
    serial: Serial,
    not_before: Timestamp,
    not_after: Timestamp,
    is_shortened: bool,
}

/// Why no plan is made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// The identity fits no common name.
    #[error(transparent)]
    Name(#[from] IdentityTooLong),
    /// The authority is not valid now.
    #[error(
        "the authority is valid from {from} to {until}, and the time is {now}: it cannot sign \
        now"
    )]
    AuthorityEnded {
        /// When the authority begins.
        from: Timestamp,
        /// When the authority ends.
        until: Timestamp,
        /// The time of the plan.
        now: Timestamp,
    },
    /// It would outlive the authority.
    #[error(
        "a certificate of {days} days would outlive the authority, which expires at {until}: \
         choose fewer days, or make a new authority"
    )]
    OutlivesAuthority {
        /// The requested days.
        days: u32,
        /// When the authority ends.
        until: Timestamp,
    },
    /// The lifetime is zero or not representable.
    #[error(
        "a certificate cannot be valid for {0} days: choose at least one day and an end before \
         the year 10000"
    )]
    Days(u32),
}

// === impl CertificateProfile ===

impl CertificateProfile {
    /// Plans the certificate of a device, to be signed by this authority.
    pub fn plan(
        &self,
        device: &DeviceKey,
        serial: Serial,
        lifetime: Lifetime,
        authority: &AuthorityCertificate,
        now: Timestamp,
    ) -> Result<Leaf, ProfileError> {
        let common_name = identity::common_name(device, self.cn_format)?;
        let (from, until) =
            (authority.certificate().not_before(), authority.certificate().not_after());
        if now < from || now >= until {
            return Err(ProfileError::AuthorityEnded { from, until, now });
        }
        let now = x509_time::whole_second(now);
        let end = |days: u32| {
            let end = now.plus_seconds(i64::from(days) * SECONDS_PER_DAY);
            if days > 0 && x509_time::to_x509(end).is_some() {
                Ok(end)
            } else {
                Err(ProfileError::Days(days))
            }
        };
        let not_after = match lifetime {
            Lifetime::Usual => end(self.validity_days)?.min(until),
            Lifetime::Days(days) if end(days)? > until => {
                return Err(ProfileError::OutlivesAuthority { days, until });
            }
            Lifetime::Days(days) => end(days)?,
        };
        let not_before = now.plus_seconds(-BACKDATING_SECONDS).max(from);
        let is_shortened = lifetime == Lifetime::Usual && not_after < end(self.validity_days)?;
        Ok(Leaf {
            is_shortened,
            device: device.clone(),
            common_name,
            urn: identity::urn(device),
            serial,
            not_before,
            not_after,
        })
    }
}

// === impl Leaf ===

impl Leaf {
    /// Its device.
    pub const fn device(&self) -> &DeviceKey {
        &self.device
    }

    /// The common name, the only part of the subject.
    pub fn common_name(&self) -> &str {
        &self.common_name
    }

    /// The URN, the only alternative name.
    pub fn urn(&self) -> &str {
        &self.urn
    }

    /// Its serial number.
    pub const fn serial(&self) -> &Serial {
        &self.serial
    }

    /// When it begins.
    pub const fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// When it ends.
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether it ends with the authority, before its usual lifetime ends.
    pub const fn is_shortened(&self) -> bool {
        self.is_shortened
    }

    /// The plan as parameters of the writing library.
    pub(crate) fn params(&self) -> Result<CertificateParams, rcgen::Error> {
        let (from, until) =
            (x509_time::to_x509(self.not_before), x509_time::to_x509(self.not_after));
        let (Some(from), Some(until)) = (from, until) else { return Err(rcgen::Error::Time) };
        let mut params = CertificateParams::default();
        params.not_before = from.to_datetime();
        params.not_after = until.to_datetime();
        params.serial_number = Some(SerialNumber::from_slice(self.serial.magnitude()));
        params.distinguished_name = named(&self.common_name);
        params.subject_alt_names = vec![SanType::URI(self.urn.as_str().try_into()?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }
}

/// A distinguished name of one part.
pub(crate) fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, DnValue::Utf8String(common_name.to_owned()));
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::authority::sign;
    use crate::pki::test_samples::{
        DAY, PROFILE, authority, authority_of, device, leaf, now, pair, request,
    };

    fn plan(lifetime: Lifetime, authority_days: u32, at: Timestamp) -> Result<Leaf, ProfileError> {
        let authority = authority_of(authority_days);
        PROFILE.plan(&device(), Serial::random().unwrap(), lifetime, authority.certificate(), at)
    }

    #[test]
    fn a_certificate_begins_five_minutes_back_but_not_before_its_authority() {
        let second = x509_time::whole_second(now());
        let usual = plan(Lifetime::Usual, 3650, now()).unwrap();
        assert_eq!(usual.not_before(), second.plus_seconds(-300));
        assert_eq!(usual.not_after(), second.plus_seconds(365 * DAY));
        let later = plan(Lifetime::Usual, 3650, now().plus_seconds(DAY)).unwrap();
        assert_eq!(later.not_before(), second.plus_seconds(DAY - 300));
    }

    #[test]
    fn the_usual_lifetime_ends_with_the_authority_and_a_longer_one_is_refused() {
        let end = x509_time::whole_second(now()).plus_seconds(30 * DAY);
        assert_eq!(plan(Lifetime::Usual, 30, now()).unwrap().not_after(), end);
        assert_eq!(plan(Lifetime::Days(30), 30, now()).unwrap().not_after(), end);
        let refused = plan(Lifetime::Days(31), 30, now()).unwrap_err();
        assert_eq!(refused, ProfileError::OutlivesAuthority { days: 31, until: end });
        assert!(matches!(plan(Lifetime::Usual, 30, end), Err(ProfileError::AuthorityEnded { .. })));
        assert!(matches!(
            plan(Lifetime::Usual, 30, now().plus_seconds(-301)),
            Err(ProfileError::AuthorityEnded { .. })
        ));
    }

    #[test]
    fn no_days_and_too_many_days_are_errors() {
        for days in [0, u32::MAX] {
            assert_eq!(
                plan(Lifetime::Days(days), 3650, now()).unwrap_err(),
                ProfileError::Days(days)
            );
        }
    }

    #[test]
    fn what_is_issued_says_what_was_planned() {
        let authority = authority();
        let leaf = leaf(&authority);
        let (certificate, key) = sign::sign_new_key(&authority, &leaf).unwrap();
        assert_eq!(certificate.common_name(), Some("acme/device/pump:1"));
        assert_eq!((certificate.serial(), certificate.issuer()), (leaf.serial(), "CN=Sample CA"));
        assert_eq!(certificate.uses().uris, ["urn:sluice:acme:pump%3A1"]);
        assert!(key.expose().starts_with("-----BEGIN PRIVATE KEY-----"));
        assert_eq!(format!("{key:?}"), "PrivateKeyPem(***)");
    }

    #[test]
    fn a_request_is_signed_for_its_own_device_only() {
        let authority = authority();
        let leaf = leaf(&authority);
        let pem = request(None, &pair(&rcgen::PKCS_ED25519), |_| ());
        let read = |device: &DeviceKey| {
            crate::pki::request::csr::Request::read(pem.as_bytes(), device).unwrap()
        };
        assert!(sign::sign(&authority, &leaf, &read(&device())).is_ok());
        let other = read(&DeviceKey::new("acme", "other").unwrap());
        let refused = sign::sign(&authority, &leaf, &other).unwrap_err();
        assert!(refused.to_string().contains("acme/device/other"), "{refused}");
    }

    #[test]
    fn after_the_year_2049_dates_still_read_back() {
        let authority = authority_of(36_500);
        let wish = Lifetime::Days(36_000);
        let leaf = PROFILE
            .plan(&device(), Serial::random().unwrap(), wish, authority.certificate(), now())
            .unwrap();
        let (certificate, _) = sign::sign_new_key(&authority, &leaf).unwrap();
        assert_eq!(certificate.not_after(), leaf.not_after());
    }
}
