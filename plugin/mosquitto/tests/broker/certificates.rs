//! An authority, and certificates of devices.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sluice_mosquitto::registry::{fingerprint, fingerprint_text};

/// An authority of devices, which issued the broker's certificate, too.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    dir: PathBuf,
}

/// A certificate with its key.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Authority {
    /// Makes an authority, and writes its files and those of the broker into `dir`.
    pub fn new(dir: &Path) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = name("test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(dir.join("ca.crt"), certificate.pem()).unwrap();
        let der = certificate.der().clone();
        let authority = Self { issuer: Issuer::new(params, key), der, dir: dir.to_owned() };
        let server_key = KeyPair::generate().unwrap();
        let mut server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        server.distinguished_name = name("localhost");
        let certificate = server.signed_by(&server_key, &authority.issuer).unwrap();
        std::fs::write(dir.join("server.crt"), certificate.pem()).unwrap();
        std::fs::write(dir.join("server.key"), server_key.serialize_pem()).unwrap();
        authority
    }

    /// The file of the authority.
    pub fn path(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// The files of the broker's certificate and key.
    pub fn server_paths(&self) -> (PathBuf, PathBuf) {
        (self.dir.join("server.crt"), self.dir.join("server.key"))
    }

    /// Issues a certificate with this common name.
    pub fn issue(&self, common_name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = name(common_name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity { certificate: certificate.der().clone(), key: key.serialize_der() }
    }

    /// The TLS configuration of a client with this certificate.
    pub fn client(&self, identity: &Identity) -> Arc<rustls::ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![identity.certificate.clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key.clone())),
            )
            .unwrap();
        Arc::new(config)
    }
}

impl Identity {
    /// The fingerprint in hexadecimal.
    pub fn fingerprint(&self) -> String {
        fingerprint_text(&self.fingerprint_bytes())
    }

    /// The fingerprint.
    pub fn fingerprint_bytes(&self) -> [u8; 32] {
        fingerprint(&self.certificate)
    }
}

fn name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}
