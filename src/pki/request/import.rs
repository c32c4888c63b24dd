//! Checks a certificate that was issued elsewhere, before it is imported into the registry.
//!
//! The authority must have signed it for a client; it must be valid now and name exactly one
//! device, as the broker will read it. Both forms of the common name are accepted. It stores
//! nothing.

use super::identity;
use super::public_key::KeyRefused;
use crate::domain::ids::{DeviceKey, IdError};
use crate::domain::time::Timestamp;
use crate::pki::authority::AuthorityCertificate;
use crate::pki::certificate::Certificate;

/// Why a certificate is not imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportCheckError {
    /// Another authority issued it.
    #[error(
        "the certificate was issued by {issuer}, but the authority here is {authority}: issue a \
         new one here"
    )]
    WrongIssuer {
        /// Its issuer.
        issuer: String,
        /// The expected issuer.
        authority: String,
    },
    /// The authority did not sign it, or signed over SHA-1.
    #[error(
        "the certificate names the authority, but its signature does not verify with the \
         authority's key, or uses SHA-1"
    )]
    BadSignature,
    /// It is an authority's certificate.
    #[error("this is the certificate of an authority, not of a device")]
    IsAuthority,
    /// It is not valid for clients.
    #[error(
        "the certificate is not for clients (its extended key usage lacks clientAuth), so the \
         broker would refuse it"
    )]
    NotForClients,
    /// The broker would refuse it.
    #[error(
        "the certificate has an unknown critical extension ({0}), so the broker would refuse it"
    )]
    UnknownCritical(String),
    /// It is not valid now.
    #[error(
        "the certificate is valid from {from} to {until}, and the time is {now}: issue a new one"
    )]
    NotNow {
        /// When it begins.
        from: Timestamp,
        /// When it ends.
        until: Timestamp,
        /// The time of the check.
        now: Timestamp,
    },
    /// Its key is weak.
    #[error("the certificate is refused: {0}")]
    Weak(#[from] KeyRefused),
    /// It has no common name, or several, of which the broker takes the first.
    #[error("the certificate has {0} common names: exactly one must name the device")]
    CommonNames(usize),
    /// Its common name names no device.
    #[error(
        "the common name {name:?} is not the name of a device ({why}): expected \
         <tenant>/device/<device>, or <tenant>/<device>"
    )]
    Name {
        /// The common name.
        name: String,
        /// What is wrong with it.
        why: IdError,
    },
    /// Its two names name two devices.
    #[error(
        "the certificate's common name names {device}, but its alternative name is {uri}: both \
         must name the same device"
    )]
    TwoDevices {
        /// By the common name.
        device: DeviceKey,
        /// By the alternative name.
        uri: String,
    },
}

/// Checks a certificate; returns its device if it may be imported.
pub fn judge(
    certificate: &Certificate,
    authority: &AuthorityCertificate,
    now: Timestamp,
) -> Result<DeviceKey, ImportCheckError> {
    if certificate.issuer() != authority.name() {
        let (issuer, authority) = (certificate.issuer().to_owned(), authority.name().to_owned());
        return Err(ImportCheckError::WrongIssuer { issuer, authority });
    }
    if !certificate.is_signed_by(authority.certificate()) {
        return Err(ImportCheckError::BadSignature);
    }
    let uses = certificate.uses();
    if uses.is_ca || uses.signs_certificates || uses.signs_crls {
        return Err(ImportCheckError::IsAuthority);
    }
    if !uses.is_for_clients {
        return Err(ImportCheckError::NotForClients);
    }
    if let Some(oid) = &uses.unknown_critical {
        return Err(ImportCheckError::UnknownCritical(oid.clone()));
    }
    certificate.key_kind().clone()?;
    let (from, until) = (certificate.not_before(), certificate.not_after());
    if now < from || now >= until {
        return Err(ImportCheckError::NotNow { from, until, now });
    }
    device_of(certificate)
}

/// The device that a certificate names, for any issuer.
pub fn device_of(certificate: &Certificate) -> Result<DeviceKey, ImportCheckError> {
    let name = certificate
        .common_name()
        .ok_or(ImportCheckError::CommonNames(certificate.subject_name().common_names.len()))?;
    let device = identity::read_common_name(name)
        .map_err(|why| ImportCheckError::Name { name: name.to_owned(), why })?;
    let mut urns = certificate.uses().uris.iter().filter(|uri| identity::is_urn(uri));
    match urns.find(|urn| identity::read_urn(urn).as_ref() != Ok(&device)) {
        Some(uri) => Err(ImportCheckError::TwoDevices { device, uri: uri.clone() }),
        None => Ok(device),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType,
    };

    use super::*;
    use crate::pki::authority::Authority;
    use crate::pki::request::profile::named;
    use crate::pki::test_samples::{authority, device, leaf, now, pair};

    /// A certificate of this authority that differs from ours.
    fn differing(authority: &Authority, change: impl Fn(&mut CertificateParams)) -> Certificate {
        let mut params = leaf(authority).params().unwrap();
        change(&mut params);
        let signed =
            params.signed_by(&pair(&rcgen::PKCS_ECDSA_P256_SHA256), authority.issuer()).unwrap();
        Certificate::from_der(signed.der()).unwrap()
    }

    fn judged(change: impl Fn(&mut CertificateParams)) -> Result<DeviceKey, ImportCheckError> {
        let authority = authority();
        judge(&differing(&authority, change), authority.certificate(), now())
    }

    #[test]
    fn a_certificate_of_either_common_name_is_taken_in() {
        assert_eq!(judged(|_| ()), Ok(device()));
        assert_eq!(judged(|params| params.distinguished_name = named("acme/pump:1")), Ok(device()));
        let older = |params: &mut CertificateParams| {
            params.subject_alt_names.clear();
            params.extended_key_usages.clear();
            params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
        };
        assert_eq!(judged(older), Ok(device()));
    }

    #[test]
    fn a_name_that_is_no_devices_or_of_two_is_refused() {
        for name in ["", "acme", "a/b/c", "+/+", "acme/#", "acme/device/", "a\u{0}/b", "\u{e9}/b"] {
            let refused = judged(|params| params.distinguished_name = named(name)).unwrap_err();
            assert!(matches!(refused, ImportCheckError::Name { .. }), "{name:?}: {refused}");
        }
        let nameless = judged(|params| params.distinguished_name = rcgen::DistinguishedName::new());
        assert_eq!(nameless, Err(ImportCheckError::CommonNames(0)));
        let other =
            judged(|params| params.distinguished_name = named("acme/device/other")).unwrap_err();
        assert!(matches!(other, ImportCheckError::TwoDevices { .. }), "{other}");
        let foreign = judged(|params| {
            params.subject_alt_names = vec![SanType::URI("https://x.org".try_into().unwrap())];
        });
        assert_eq!(foreign, Ok(device()), "a name that is not ours says nothing");
    }

    #[test]
    fn what_the_broker_would_refuse_is_refused() {
        let server =
            judged(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
        assert_eq!(server, Err(ImportCheckError::NotForClients));
        let sub =
            judged(|params| params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained));
        assert_eq!(sub, Err(ImportCheckError::IsAuthority));
        let signs = judged(|params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]);
        assert_eq!(signs, Err(ImportCheckError::IsAuthority));
        let strange = judged(|params| {
            let mut extension =
                CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 9], vec![5, 0]);
            extension.set_criticality(true);
            params.custom_extensions = vec![extension];
        });
        assert_eq!(strange, Err(ImportCheckError::UnknownCritical("1.3.6.1.4.1.9".to_owned())));
    }

    #[test]
    fn another_authoritys_and_one_that_is_not_good_now_are_refused() {
        let (ours, namesake) = (authority(), authority());
        let certificate = differing(&ours, |_| ());
        let by = |authority: &Authority, at| judge(&certificate, authority.certificate(), at);
        assert_eq!(by(&namesake, now()), Err(ImportCheckError::BadSignature));
        let (other, _) =
            crate::pki::authority::create::found(&"Other".parse().unwrap(), 9, now()).unwrap();
        assert!(matches!(by(&other, now()), Err(ImportCheckError::WrongIssuer { .. })));
        for at in [certificate.not_after(), certificate.not_before().plus_seconds(-1)] {
            assert!(matches!(by(&ours, at), Err(ImportCheckError::NotNow { .. })));
        }
        assert_eq!(by(&ours, certificate.not_before()), Ok(device()));
    }
}
