//! Makes the JWT that Sluice logs in with: RS256, signed by a key that only its owner may read.
//!
//! It stores neither key nor token: both exist for one login. The settings determine the claims.

use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Map, Value, json};

use crate::config::sections::broker::BrokerJwt;
use crate::disk;
use crate::domain::time::{MICROS_PER_SECOND, Timestamp};

/// A token is valid from this long ago: the broker's clock may be behind.
const BACKDATED_SECONDS: i64 = 60;

/// Longest key file: RSA 4096 in PEM has 3.3 KiB.
const MAX_KEY_BYTES: u64 = 64 * 1024;

/// Permission bits that others than the owner must not have.
const OTHERS: u32 = 0o077;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The file cannot be read.
    #[error("{setting} ({path}) cannot be read: {source}")]
    Read {
        /// The setting.
        setting: String,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than the owner may read or write the file.
    #[error(
        "{setting} ({path}) has mode {mode:04o}, so other users can access it: run `chmod 600 {path}`"
    )]
    TooOpen {
        /// The setting.
        setting: String,
        /// Which file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Not a usable key.
    #[error(
        "{setting} ({path}) is not a usable key: it must be an RSA key of 2048 to 4096 bits, \
         in PEM, PKCS#8 or PKCS#1, without a pass phrase"
    )]
    Unusable {
        /// The setting.
        setting: String,
        /// Which file.
        path: PathBuf,
    },
    /// No randomness.
    #[error("the login token cannot be signed: the system provides no random numbers")]
    Unsigned,
}

/// A token that is valid from now for the configured lifetime. An error names the key as `setting`.
/// Blocks.
pub fn mint(jwt: &BrokerJwt, setting: &str, now: Timestamp) -> Result<String, MintError> {
    let key = read_key(&jwt.key, setting)?;
    let mut header = json!({ "alg": "RS256", "typ": "JWT" });
    if let Some(id) = &jwt.key_id {
        header["kid"] = id.as_str().into();
    }
    let mut claims = jwt.claims.clone();
    put_times(&mut claims, now.micros().div_euclid(MICROS_PER_SECOND), jwt.lifetime.as_secs());
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&Value::Object(claims)));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .map_err(|_| MintError::Unsigned)?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

// --- private helpers ---

fn put_times(claims: &mut Map<String, Value>, now: i64, lifetime: u64) {
    let from = now - BACKDATED_SECONDS;
    claims.insert("iat".to_owned(), from.into());
    claims.insert("nbf".to_owned(), from.into());
    claims.insert("exp".to_owned(), now.saturating_add_unsigned(lifetime).into());
}

fn read_key(path: &Path, setting: &str) -> Result<RsaKeyPair, MintError> {
    let named = || (setting.to_owned(), path.to_owned());
    let failed = |source| {
        let (setting, path) = named();
        MintError::Read { setting, path, source }
    };
    let file = disk::open(path).map_err(failed)?;
    // Checks the open file, not the path, which may name another file by the time it is read.
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & OTHERS != 0 {
        let (setting, path) = named();
        return Err(MintError::TooOpen { setting, path, mode });
    }
    let mut text = Vec::new();
    file.take(MAX_KEY_BYTES).read_to_end(&mut text).map_err(failed)?;
    let key = match PrivateKeyDer::from_pem_slice(&text) {
        Ok(PrivateKeyDer::Pkcs8(key)) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).ok(),
        Ok(PrivateKeyDer::Pkcs1(key)) => RsaKeyPair::from_der(key.secret_pkcs1_der()).ok(),
        _ => None,
    };
    key.ok_or_else(|| {
        let (setting, path) = named();
        MintError::Unusable { setting, path }
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::time::Duration;

    use super::*;
    use crate::config::sections::broker::JwtPlace;

    fn jwt(key: &Path) -> BrokerJwt {
        let (claims, lifetime) = (Map::new(), Duration::from_mins(1));
        BrokerJwt { key: key.to_owned(), key_id: None, claims, lifetime, place: JwtPlace::Password }
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_unusable_is_refused_with_advice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mqtt.key");
        let refused =
            || mint(&jwt(&path), "link.azure.key", Timestamp::default()).unwrap_err().to_string();
        assert!(refused().starts_with("link.azure.key ("));
        assert!(refused().contains("cannot be read: No such file"));
        fs::write(&path, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(refused().contains(&format!(
            "mode 0640, so other users can access it: run `chmod 600 {}`",
            path.display()
        )));
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert!(refused().contains("is not a usable key"));
    }
}
