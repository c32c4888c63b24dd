//! Step 3: the files with the secret of the login, and whether the key is that of a certificate.
//!
//! It reads files and shows nothing of a secret: of a key only its size.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ring::signature::RsaKeyPair;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use tokio_rustls::rustls::crypto::ring::default_provider;

use super::report::CheckStep;
use crate::disk;
use crate::domain::time::Timestamp;
use crate::link::settings::{LinkAuth, LinkSettings};
use crate::pki::certificate::Certificate;
use crate::pki::serial::Fingerprint;

/// Longest file of a key, a certificate or credentials.
const MAX_BYTES: u64 = 64 * 1024;

/// Permission bits that others than the owner must not have.
const OTHERS: u32 = 0o077;

/// Bits of the smallest and the largest RSA key.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// Step 3. Blocks.
pub fn key(link: &LinkSettings, certificate: Option<&Path>, now: Timestamp) -> CheckStep {
    let mut step = CheckStep::new(3, "key");
    match &link.auth {
        LinkAuth::Jwt { token, .. } => {
            let Some(text) = private_file(&mut step, "key", &token.key) else { return step };
            if !is_rsa_key(&mut step, &token.key, &text) {
                return step;
            }
            match certificate {
                Some(path) => compare(&mut step, path, &text, now),
                None => {
                    step.note("not compared with the certificate at the cloud: name it with --certificate");
                }
            }
        }
        LinkAuth::Certificate { cert, key, .. } => pair(&mut step, cert, key, now),
        LinkAuth::Password { password_file, .. } => {
            private_file(&mut step, "password_file", password_file);
        }
        LinkAuth::SigV4 { credentials: Some(profile), .. } => {
            private_file(&mut step, "credentials_file", &profile.path);
        }
        LinkAuth::SigV4 { credentials: None, .. } => {
            step.note("the credentials come from the environment: step 10 tries them");
        }
        LinkAuth::Cognito { .. } | LinkAuth::Anonymous => {
            return CheckStep::skipped(3, "key", "this login has no file with a secret");
        }
    }
    step
}

// === private helpers ===

/// The content of a file that only its owner may read.
fn private_file(step: &mut CheckStep, field: &str, path: &Path) -> Option<Vec<u8>> {
    let read = || {
        let file = disk::open(path)?;
        let mode = file.metadata()?.permissions().mode() & 0o777;
        let mut text = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut text)?;
        Ok::<_, std::io::Error>((mode, text))
    };
    let shown = path.display();
    match read() {
        Ok((mode, text)) => {
            if mode & OTHERS == 0 {
                step.note(format!("{shown} has mode {mode:04o}"));
            } else {
                step.fail(
                    format!("{shown} has mode {mode:04o}: other users can read it"),
                    format!("run `chmod 600 {shown}`"),
                );
                step.field(field);
            }
            Some(text)
        }
        Err(error) => {
            step.fail(
                format!("{shown} cannot be read: {error}"),
                format!("correct {field} in the links file, or the permissions of the file"),
            );
            step.field(field);
            None
        }
    }
}

/// Whether it is a key that signs tokens.
fn is_rsa_key(step: &mut CheckStep, path: &Path, text: &[u8]) -> bool {
    let (form, key) = match PrivateKeyDer::from_pem_slice(text) {
        Ok(PrivateKeyDer::Pkcs8(key)) => {
            ("PKCS#8", RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).ok())
        }
        Ok(PrivateKeyDer::Pkcs1(key)) => {
            ("PKCS#1", RsaKeyPair::from_der(key.secret_pkcs1_der()).ok())
        }
        Ok(_) => ("another form", None),
        Err(_) => ("no PEM", None),
    };
    let Some(key) = key else {
        step.fail(
            format!("{} is not a usable RSA key ({form})", path.display()),
            format!(
                "it must be an RSA key of {} to {} bits in PEM without a pass phrase: \
                 `openssl genrsa -out {} 2048` makes one",
                RSA_BITS.start(),
                RSA_BITS.end(),
                path.display()
            ),
        );
        step.field("key");
        return false;
    };
    step.note(format!("RSA of {} bits, {form}", key.public().modulus_len() * 8));
    true
}

/// The digest of the public key, as X.509 writes it (`SubjectPublicKeyInfo`).
fn public_digest(text: &[u8]) -> Option<String> {
    let key = PrivateKeyDer::from_pem_slice(text).ok()?;
    let signing = default_provider().key_provider.load_private_key(key).ok()?;
    signing.public_key().map(|public| Fingerprint::of(&public).to_string())
}

/// Compares the key with the certificate that the cloud has.
fn compare(step: &mut CheckStep, path: &Path, key: &[u8], now: Timestamp) {
    let Some(certificate) = certificate_of(step, "--certificate", path) else { return };
    dates(step, path, &certificate, now);
    if public_digest(key) == Some(certificate.public_key_sha256()) {
        step.note(format!("the key is that of {}", path.display()));
    } else {
        step.fail(
            format!("the key is not that of {}: the cloud refuses its signatures", path.display()),
            "use the key that belongs to the certificate, or upload the certificate of this key",
        );
        step.field("key");
    }
}

/// The client certificate and its key.
fn pair(step: &mut CheckStep, cert: &Path, key: &Path, now: Timestamp) {
    let certificate = certificate_of(step, "cert", cert);
    let Some(text) = private_file(step, "key", key) else { return };
    let Some(certificate) = certificate else { return };
    dates(step, cert, &certificate, now);
    match public_digest(&text) {
        Some(digest) if digest == certificate.public_key_sha256() => {
            step.note("the key is that of the certificate");
        }
        Some(_) => {
            step.fail(
                format!("the key is not that of {}", cert.display()),
                "name the key that belongs to the certificate",
            );
            step.field("key").field("cert");
        }
        None => {
            step.fail(
                format!("{} contains no usable private key in PEM", key.display()),
                "name the file that begins with -----BEGIN PRIVATE KEY-----, without a pass phrase",
            );
            step.field("key");
        }
    }
}

fn certificate_of(step: &mut CheckStep, field: &str, path: &Path) -> Option<Certificate> {
    let text = disk::read(path, MAX_BYTES).map_err(|error| error.to_string());
    let read =
        text.and_then(|text| Certificate::from_pem(&text).map_err(|error| error.to_string()));
    match read {
        Ok(certificate) => Some(certificate),
        Err(why) => {
            step.fail(
                format!("{} cannot be used: {why}", path.display()),
                format!("{field} must name a certificate in PEM"),
            );
            step.field(field);
            None
        }
    }
}

fn dates(step: &mut CheckStep, path: &Path, certificate: &Certificate, now: Timestamp) {
    let (shown, end) = (path.display(), certificate.not_after());
    if end <= now {
        step.fail(format!("{shown} expired at {end}"), "use one that is valid").field("cert");
    } else if certificate.not_before() > now {
        step.fail(
            format!("{shown} is valid from {} on", certificate.not_before()),
            "wait, or correct the clock of this machine",
        );
        step.field("cert");
    } else {
        step.note(format!("{shown} is valid until {end}"));
    }
}
