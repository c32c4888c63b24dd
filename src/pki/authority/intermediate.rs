//! Signs an intermediate authority: for one cell, below a root.
//!
//! Its certificate may sign no further authority and no server: its path length is 0, its extended key
//! usage is `clientAuth`, and its name constraints exclude every host name and address. A constraint by
//! tenant is not possible: X.509 compares whole parts of a name, and the common name of a device is one
//! part. It writes no file.

use rcgen::{CidrSubnet, ExtendedKeyUsagePurpose, GeneralSubtree, NameConstraints};

use super::create::{AuthorityName, CreateAuthorityError, params_of};
use super::{Authority, AuthorityCertificate};
use crate::domain::time::Timestamp;
use crate::pki::certificate::Certificate;
use crate::pki::key::{CaKey, PrivateKeyPem};

/// Signs an intermediate authority; returns its key once, for its file. It ends no later than the
/// authority above.
pub fn issue(
    above: &Authority,
    name: &AuthorityName,
    validity_days: u32,
    now: Timestamp,
) -> Result<(Authority, PrivateKeyPem), CreateAuthorityError> {
    let own = above.certificate().certificate();
    if own.uses().path_length == Some(0) {
        return Err(CreateAuthorityError::PathLength(own.subject().to_owned()));
    }
    if own.common_name() == Some(name.to_string().as_str()) {
        return Err(CreateAuthorityError::SameName(name.to_string()));
    }
    let limit = Some(above.certificate().ends());
    let mut params = params_of(name, 0, validity_days, limit, now)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.name_constraints = Some(no_server());
    params.use_authority_key_identifier_extension = true;
    let key = CaKey::generate()?;
    let signed = params.signed_by(&key, above.issuer())?.pem();
    let chain: String = above.certificate().chain().iter().map(Certificate::to_pem).collect();
    let certificate = AuthorityCertificate::from_pem(format!("{signed}{chain}").as_bytes(), now)?;
    let secret = key.to_pem();
    Ok((Authority::new(certificate, key)?, secret))
}

// --- private helpers ---

/// Excludes every DNS name and every address.
fn no_server() -> NameConstraints {
    let every = [
        GeneralSubtree::DnsName(String::new()),
        GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
        GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
    ];
    NameConstraints { permitted_subtrees: Vec::new(), excluded_subtrees: every.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::authority::create::{found, found_root};
    use crate::pki::test_samples::now;

    #[test]
    fn an_intermediate_is_signed_by_a_root_for_it_and_signs_no_authority() {
        let (root, _) = found_root(&"Root".parse().unwrap(), 30, now()).unwrap();
        let (cell, _) = issue(&root, &"Cell north".parse().unwrap(), 3650, now()).unwrap();
        assert_eq!(cell.certificate().chain().len(), 2);
        assert_eq!(cell.certificate().ends(), root.certificate().ends());
        assert_eq!(cell.certificate().certificate().uses().path_length, Some(0));
        let below = issue(&cell, &"Below".parse().unwrap(), 3, now()).unwrap_err();
        assert!(matches!(below, CreateAuthorityError::PathLength(_)), "{below}");
        let same = issue(&root, &"Root".parse().unwrap(), 3, now()).unwrap_err();
        assert!(matches!(same, CreateAuthorityError::SameName(_)), "{same}");
        let (plain, _) = found(&"Plain".parse().unwrap(), 30, now()).unwrap();
        let refused = issue(&plain, &"Cell".parse().unwrap(), 3, now()).unwrap_err().to_string();
        assert!(refused.contains("ca init --intermediates"), "{refused}");
    }
}
