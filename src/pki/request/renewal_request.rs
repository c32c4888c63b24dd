//! What a device sends to renew its certificate: a request for a new key, and the proof by the
//! current one. Only simulated devices make it here; a real one does it on its own.
//!
//! It sends nothing and writes no file.

use rcgen::{CertificateParams, DistinguishedName, SigningKey};

use super::proof;
use crate::domain::base64_text;
use crate::domain::ids::DeviceKey;
use crate::pki::key::{CaKey, KeyError, PrivateKeyPem};

/// A request for a new certificate.
#[derive(Debug)]
pub struct RenewalRequest {
    /// The certificate signing request, in PEM.
    pub csr_pem: String,
    /// The signature of the current key over the statement, in base64.
    pub proof: String,
    /// The new key. It never leaves the device.
    pub key: PrivateKeyPem,
}

// === impl RenewalRequest ===

impl RenewalRequest {
    /// Creates a key and a request. `current` is PEM with the private key of the certificate in use.
    pub fn make(device: &DeviceKey, current: &[u8]) -> Result<Self, KeyError> {
        let (current, new) = (CaKey::from_pem(current)?, CaKey::generate()?);
        let mut params = CertificateParams::default();
        // The subject of a request does not count: Sluice names the device itself.
        params.distinguished_name = DistinguishedName::new();
        let csr = params.serialize_request(&new).map_err(KeyError::Made)?;
        let statement = proof::statement(device, csr.der());
        let signature = current.sign(statement.as_bytes()).map_err(KeyError::Made)?;
        Ok(Self {
            csr_pem: csr.pem().map_err(KeyError::Made)?,
            proof: base64_text::encode(&signature),
            key: new.to_pem(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::request::csr::Request;

    #[test]
    fn the_request_is_read_for_the_device_and_has_a_key_of_its_own() {
        let device = DeviceKey::new("acme", "pump-1").unwrap();
        let current = CaKey::generate().unwrap().to_pem();
        let made = RenewalRequest::make(&device, current.expose().as_bytes()).unwrap();
        let request = Request::read(made.csr_pem.as_bytes(), &device).unwrap();
        assert_eq!(request.device(), &device);
        assert_ne!(made.key.expose(), current.expose());
        assert!(base64_text::decode(&made.proof).is_some_and(|proof| proof.len() > 64));
    }
}
