//! OpenSSL's command in a scratch directory, and an authority of ours whose files lie there.

use std::fs;
use std::process::{Command, Output};

use sluice::clock;
use sluice::config::sections::certificates::CnFormat;
use sluice::domain::ids::DeviceKey;
use sluice::pki::authority::Authority;
use sluice::pki::authority::{create, sign};
use sluice::pki::certificate::Certificate;
use sluice::pki::crl::file;
use sluice::pki::crl::{self, CrlEntry};
use sluice::pki::files;
use sluice::pki::request::profile::{CertificateProfile, Leaf, Lifetime};
use sluice::pki::serial::Serial;

use crate::support::dir::Scratch;
use crate::support::process::find_program;

/// A directory and what is in it.
pub struct OpensslDir {
    pub dir: Scratch,
}

impl OpensslDir {
    pub fn new() -> Self {
        Self { dir: Scratch::new("pki") }
    }

    /// Runs `openssl`; the line is split at spaces, the files are those of the openssl.
    pub fn openssl(&self, line: &str) -> Output {
        let program = find_program("openssl").expect("openssl is installed: scripts/test does it");
        Command::new(program).args(line.split(' ')).current_dir(self.dir.path()).output().unwrap()
    }

    /// Runs it to a good end; what it said.
    pub fn done(&self, line: &str) -> String {
        let output = self.openssl(line);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "openssl {line}: {said}");
        said
    }

    /// Runs it to a bad end; what it said.
    pub fn refused(&self, line: &str) -> String {
        let output = self.openssl(line);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!output.status.success(), "openssl {line}: {said}");
        said
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.dir.path().join(name)).unwrap()
    }

    /// A new authority of ours; its certificate is `ca.crt`.
    pub fn founded(&self) -> Authority {
        let (authority, _) =
            create::found(&"Sluice test CA".parse().unwrap(), 3650, clock::now()).unwrap();
        self.dir.write("ca.crt", authority.certificate().bundle_pem());
        authority
    }

    /// The authority in `ca.crt` and `ca.key`, which OpenSSL made.
    pub fn opened(&self) -> Authority {
        let path = |name| self.dir.path().join(name);
        Authority::open(&path("ca.crt"), &path("ca.key"), clock::now()).unwrap()
    }

    /// Issues a certificate with a key made here: `<name>.crt` and `<name>.key`.
    pub fn issued(&self, authority: &Authority, name: &str) -> Certificate {
        let (certificate, key) = sign::sign_new_key(authority, &plan(authority)).unwrap();
        self.dir.write(&format!("{name}.crt"), certificate.to_pem());
        files::create(
            &self.dir.path().join(format!("{name}.key")),
            key.expose().as_bytes(),
            files::PRIVATE,
        )
        .unwrap();
        certificate
    }

    /// Publishes a list as `crl.pem`.
    pub fn published(&self, authority: &Authority, number: u64, revoked: &[CrlEntry]) {
        let list = crl::sign::sign(authority, number, revoked, 168, clock::now()).unwrap();
        file::write_crl(&self.dir.path().join("crl.pem"), &list).unwrap();
    }
}

pub fn device() -> DeviceKey {
    DeviceKey::new("acme", "pump:1").unwrap()
}

pub fn plan(authority: &Authority) -> Leaf {
    let profile = CertificateProfile { cn_format: CnFormat::Strict, validity_days: 365 };
    let serial = Serial::random().unwrap();
    profile.plan(&device(), serial, Lifetime::Usual, authority.certificate(), clock::now()).unwrap()
}
