//! Each lint: a certificate that breaks one rule, and the finding it must give.

use rcgen::{
    CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};

use super::lint::{LintFinding, check};
use super::profile::{Leaf, Lifetime};
use crate::pki::authority::create;
use crate::pki::authority::{Authority, AuthorityCertificate};
use crate::pki::key::CaKey;
use crate::pki::serial::Serial;
use crate::pki::test_samples::{self, PROFILE, parts, resigned, tagged};

const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
const SUBJECT_KEY_ID: &[u64] = &[2, 5, 29, 14];
const CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
const EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37];
const POLICIES: &[u64] = &[2, 5, 29, 32];
/// `clientAuth`, as the extension holds it.
const CLIENT_AUTH: &[u8] = &[0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2];

/// What is changed before a certificate is signed.
type Change = dyn Fn(&mut CertificateParams);

/// An authority and its key, a plan, and a device's key.
struct Bench {
    authority: Authority,
    key: CaKey,
    leaf: Leaf,
    pair: KeyPair,
}

impl Bench {
    fn new() -> Self {
        let (authority, secret) =
            create::found(&"Sample CA".parse().unwrap(), 3650, test_samples::now()).unwrap();
        let key = CaKey::from_pem(secret.expose().as_bytes()).unwrap();
        let leaf = test_samples::leaf(&authority);
        Self { authority, key, leaf, pair: test_samples::pair(&rcgen::PKCS_ECDSA_P256_SHA256) }
    }

    /// The planned certificate, with something changed before it is signed.
    fn signed(&self, change: impl Fn(&mut CertificateParams)) -> Vec<u8> {
        let mut params = self.leaf.params().unwrap();
        change(&mut params);
        params.signed_by(&self.pair, self.authority.issuer()).unwrap().der().to_vec()
    }

    /// The planned certificate, with its inner parts changed and signed again.
    fn rebuilt(&self, change: impl Fn(&mut Vec<Vec<u8>>)) -> Vec<u8> {
        resigned(&self.signed(|_| ()), &self.key, change)
    }

    fn findings(&self, der: &[u8]) -> Vec<LintFinding> {
        self.findings_of(der, self.authority.certificate())
    }

    fn findings_of(&self, der: &[u8], authority: &AuthorityCertificate) -> Vec<LintFinding> {
        let key = self.pair.subject_public_key_info();
        check(der, &self.leaf, &key, authority).map_or_else(|error| error.findings, |()| Vec::new())
    }
}

fn other_uri() -> SanType {
    SanType::URI("urn:sluice:acme:other".try_into().unwrap())
}

fn extension(oid: &[u64], critical: bool, content: &[u8]) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, content.to_vec());
    extension.set_criticality(critical);
    extension
}

/// Writes constraints and key identifier by hand, which the library writes together or not at all.
fn by_hand(params: &mut CertificateParams, constraints: (bool, &[u8]), id_is_critical: bool) {
    params.is_ca = IsCa::NoCa;
    let id = extension(SUBJECT_KEY_ID, id_is_critical, &tagged(4, &[7; 20]));
    params.custom_extensions = vec![extension(CONSTRAINTS, constraints.0, constraints.1), id];
}

#[test]
fn the_planned_certificate_passes_also_when_it_was_signed_again() {
    let bench = Bench::new();
    assert_eq!(bench.findings(&bench.signed(|_| ())), []);
    assert_eq!(bench.findings(&bench.rebuilt(|_| ())), []);
    assert_eq!(
        bench.findings(&bench.signed(|params| by_hand(params, (true, &[0x30, 0]), false))),
        []
    );
}

#[test]
fn another_field_than_planned_is_found() {
    let bench = Bench::new();
    let cases: [(LintFinding, &Change); 5] = [
        (LintFinding::Serial, &|params| params.serial_number = Some(SerialNumber::from(7))),
        (LintFinding::Dates, &|params| {
            params.not_after -= chrono::TimeDelta::days(1).to_std().unwrap();
        }),
        (LintFinding::Dates, &|params| {
            params.not_before += chrono::TimeDelta::days(1).to_std().unwrap();
        }),
        (LintFinding::Subject, &|params| {
            params.distinguished_name = super::profile::named("acme/device/other");
        }),
        (LintFinding::Subject, &|params| {
            params.distinguished_name.push(DnType::OrganizationName, "Acme");
        }),
    ];
    for (finding, change) in cases {
        assert_eq!(bench.findings(&bench.signed(change)), [finding]);
    }
}

#[test]
fn each_extension_that_is_not_of_the_profile_is_found() {
    let bench = Bench::new();
    let cases: [(LintFinding, &Change); 17] = [
        (LintFinding::Constraints, &|params| {
            params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        }),
        (LintFinding::Constraints, &|params| by_hand(params, (false, &[0x30, 0]), false)),
        (LintFinding::KeyUsage, &|params| params.key_usages.push(KeyUsagePurpose::KeyEncipherment)),
        (LintFinding::KeyUsage, &|params| params.key_usages = vec![KeyUsagePurpose::KeyAgreement]),
        (LintFinding::KeyUsage, &|params| params.key_usages.clear()),
        (LintFinding::KeyUsage, &|params| {
            params.key_usages.clear();
            params.custom_extensions.push(extension(KEY_USAGE, false, &[3, 2, 7, 0x80]));
        }),
        (LintFinding::ExtendedKeyUsage, &|params| {
            params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ServerAuth);
        }),
        (LintFinding::ExtendedKeyUsage, &|params| {
            params.insert_extended_key_usage(ExtendedKeyUsagePurpose::Any);
        }),
        (LintFinding::ExtendedKeyUsage, &|params| {
            params.extended_key_usages =
                vec![ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 4, 1, 9])];
        }),
        (LintFinding::ExtendedKeyUsage, &|params| params.extended_key_usages.clear()),
        (LintFinding::ExtendedKeyUsage, &|params| {
            params.extended_key_usages.clear();
            params.custom_extensions.push(extension(EXTENDED_KEY_USAGE, true, CLIENT_AUTH));
        }),
        (LintFinding::AlternativeName, &|params| params.subject_alt_names = vec![other_uri()]),
        (LintFinding::AlternativeName, &|params| params.subject_alt_names.push(other_uri())),
        (LintFinding::AlternativeName, &|params| params.subject_alt_names.clear()),
        (LintFinding::AuthorityKeyId, &|params| {
            params.use_authority_key_identifier_extension = false;
        }),
        (LintFinding::SubjectKeyId, &|params| by_hand(params, (true, &[0x30, 0]), true)),
        (LintFinding::Foreign, &|params| {
            params.custom_extensions.push(extension(POLICIES, false, &[0x30, 0]));
        }),
    ];
    for (number, (finding, change)) in cases.into_iter().enumerate() {
        assert_eq!(bench.findings(&bench.signed(change)), [finding], "case {number}");
    }
}

#[test]
fn an_extension_that_stands_twice_is_found() {
    let bench = Bench::new();
    let twice = |params: &mut CertificateParams| {
        params.custom_extensions.push(extension(SUBJECT_KEY_ID, false, &tagged(4, &[7; 20])));
    };
    assert_eq!(bench.findings(&bench.signed(twice)), [LintFinding::Duplicate]);
}

#[test]
fn another_key_and_another_issuer_are_found() {
    let bench = Bench::new();
    let params = bench.leaf.params().unwrap();
    let other_pair = test_samples::pair(&rcgen::PKCS_ECDSA_P256_SHA256);
    let other_key = params.signed_by(&other_pair, bench.authority.issuer()).unwrap();
    assert_eq!(bench.findings(other_key.der()), [LintFinding::Key]);

    let namesake = test_samples::authority();
    let by_namesake = params.signed_by(&bench.pair, namesake.issuer()).unwrap();
    assert_eq!(
        bench.findings(by_namesake.der()),
        [LintFinding::Signature, LintFinding::AuthorityKeyId]
    );

    let mut issuer = CertificateParams::default();
    issuer.distinguished_name = super::profile::named("Sample CB");
    issuer.key_identifier_method = bench.authority.key_id_method();
    let renamed = params.signed_by(&bench.pair, &Issuer::from_params(&issuer, &bench.key)).unwrap();
    assert_eq!(bench.findings(renamed.der()), [LintFinding::Issuer]);

    issuer.distinguished_name = super::profile::named("Sample CA");
    issuer.key_identifier_method = KeyIdMethod::PreSpecified(vec![1; 20]);
    let other_id =
        params.signed_by(&bench.pair, &Issuer::from_params(&issuer, &bench.key)).unwrap();
    assert_eq!(bench.findings(other_id.der()), [LintFinding::AuthorityKeyId]);
}

#[test]
fn a_certificate_that_outlives_its_authority_is_found() {
    let bench = Bench::new();
    let short = test_samples::authority_of(30);
    let findings = bench.findings_of(&bench.signed(|_| ()), short.certificate());
    assert!(findings.contains(&LintFinding::Outlives), "{findings:?}");
    let days = |days| {
        PROFILE.plan(
            &test_samples::device(),
            Serial::random().unwrap(),
            Lifetime::Days(days),
            short.certificate(),
            test_samples::now(),
        )
    };
    assert!(days(30).is_ok() && days(31).is_err());
}

#[test]
fn what_no_library_would_write_is_found() {
    let bench = Bench::new();
    let version = bench.rebuilt(|parts| parts[0] = vec![0xa0, 3, 2, 1, 1]);
    assert_eq!(bench.findings(&version), [LintFinding::Version]);
    // Another number of the family: ecdsa-with-SHA384.
    let algorithm = bench.rebuilt(|parts| *parts[2].last_mut().unwrap() = 3);
    assert_eq!(bench.findings(&algorithm), [LintFinding::Algorithm]);
    let unique_id = bench.rebuilt(|parts| parts.insert(7, vec![0x81, 2, 0, 1]));
    assert_eq!(bench.findings(&unique_id), [LintFinding::UniqueId]);
    let negative = bench.rebuilt(|parts| parts[1][2] = 0xff);
    assert!(
        [vec![LintFinding::Serial], vec![LintFinding::NotDer]].contains(&bench.findings(&negative))
    );
}

#[test]
fn bytes_that_were_touched_are_found() {
    let bench = Bench::new();
    let der = bench.signed(|_| ());
    let mut flipped = der.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert_eq!(bench.findings(&flipped), [LintFinding::Signature]);
    assert_eq!(bench.findings(&[&der[..], &[0]].concat()), [LintFinding::NotDer]);
    assert_eq!(bench.findings(&der[..der.len() - 1]), [LintFinding::NotDer]);
    assert_eq!(bench.findings(&[]), [LintFinding::NotDer]);
    assert_eq!(parts(test_samples::content(&der)).len(), 3);
}
