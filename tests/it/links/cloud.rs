//! A second Mosquitto as the other broker: over TCP, TLS and websockets, plain or with the login of
//! Azure Event Grid.
//!
//! It stays a Mosquitto: its reason codes and limits are its own, not those of a cloud.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::rig::source;
use crate::broker::tls::Authority;
use crate::support::dir::Scratch;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::port;
use crate::support::process::run_to_end;

/// The issuer that the broker with CUSTOM-JWT trusts.
pub const ISSUER: &str = "sluice-test";
/// The audience that it accepts: with the slash, as the newest page of Azure writes it.
pub const AUDIENCE: &str = "127.0.0.1/";
/// The user name and the password of a client that reads and writes everything there.
pub const READER: &str = "reader";

/// The other broker; it ends when this is dropped.
#[derive(Debug)]
pub struct CloudBroker {
    pub broker: Mosquitto,
    /// TCP: the port of `broker`. The others: TLS, websockets, websockets over TLS.
    pub tls: u16,
    pub ws: u16,
    pub wss: u16,
    pub authority: Authority,
}

/// A key pair that signs tokens for the broker with CUSTOM-JWT.
#[derive(Debug)]
pub struct TokenKeys {
    dir: Scratch,
}

// === impl CloudBroker ===

impl CloudBroker {
    /// A broker that every client may use.
    pub fn open() -> Self {
        Self::with(MosquittoOptions::default())
    }

    /// One with these options: users, access rules, limits.
    pub fn with(mut options: MosquittoOptions) -> Self {
        let authority = Authority::new();
        let (certificate, key) = authority.sign("server");
        let [tls, ws, wss] = [port::free(), port::free(), port::free()];
        let files =
            [format!("certfile {}", certificate.display()), format!("keyfile {}", key.display())];
        let listen = |port: u16| format!("listener {port} 127.0.0.1");
        options.extra.push(listen(tls));
        options.extra.extend(files.clone());
        options.extra.push(listen(ws));
        options.extra.push("protocol websockets".into());
        options.extra.push(listen(wss));
        options.extra.push("protocol websockets".into());
        options.extra.extend(files);
        Self { broker: Mosquitto::start(options), tls, ws, wss, authority }
    }

    /// One that logs clients in as Event Grid does, with tokens of these keys. The client
    /// [`READER`] reads everything.
    pub fn custom_jwt(keys: &TokenKeys, more: &[&str]) -> Self {
        Self::trusting(&keys.public(), ISSUER, more)
    }

    /// The same with any file of public keys or certificates, and any issuer.
    pub fn trusting(keys: &Path, issuer: &str, more: &[&str]) -> Self {
        let mut options = MosquittoOptions::default().user(READER, READER);
        options.extra.push(format!("plugin {}", plugin().display()));
        options.extra.push(format!("plugin_opt_jwt_key {}", keys.display()));
        options.extra.push(format!("plugin_opt_jwt_iss {issuer}"));
        options.extra.push(format!("plugin_opt_jwt_aud {AUDIENCE}"));
        options.extra.push(format!("plugin_opt_reader {READER}"));
        options.extra.extend(more.iter().map(|line| (*line).to_owned()));
        let limits = ["max_packet_size 524288", "retain_available false", "max_keepalive 1160"];
        options.extra.extend(limits.map(str::to_owned));
        Self::with(options)
    }

    /// The authority of its certificate.
    pub fn ca(&self) -> PathBuf {
        self.authority.path("ca.crt")
    }

    /// How often a word stands in its log.
    pub fn count(&self, words: &str) -> usize {
        self.broker.log().lines().filter(|line| line.contains(words)).count()
    }
}

// === impl TokenKeys ===

impl TokenKeys {
    /// A pair of OpenSSL's.
    pub fn new() -> Self {
        let keys = Self { dir: Scratch::new("tokens") };
        keys.make("private.pem", "public.pem");
        keys
    }

    /// The private key.
    pub fn private(&self) -> PathBuf {
        self.dir.path().join("private.pem")
    }

    /// The file of public keys that the broker trusts.
    pub fn public(&self) -> PathBuf {
        self.dir.path().join("public.pem")
    }

    /// Another pair in the same files: the broker trusts it alone from now on.
    pub fn rotate(&self) {
        self.make("private.pem", "public.pem");
    }

    /// The broker trusts another key from now on; the private key stays.
    pub fn distrust(&self) {
        self.make("other.pem", "public.pem");
    }

    /// Another file of this directory, such as a key that is not trusted.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn make(&self, private: &str, public: &str) {
        let openssl = |line: String| {
            run_to_end(Command::new("openssl").args(line.split(' ')).current_dir(self.dir.path()))
        };
        openssl(format!(
            "genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out {private}.new"
        ));
        openssl(format!("pkey -in {private}.new -pubout -out {public}.new"));
        let place = |name: &str| self.dir.path().join(name);
        set_permissions(place(&format!("{private}.new")), Permissions::from_mode(0o600)).unwrap();
        for name in [private, public] {
            std::fs::rename(place(&format!("{name}.new")), place(name)).unwrap();
        }
    }
}

/// The plugin, built once for the test process.
fn plugin() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let dir = Scratch::new("plugin");
        let library = dir.path().join("custom_jwt.so");
        run_to_end(
            Command::new("cc")
                .args(["-Wall", "-Wextra", "-Werror", "-O1", "-fPIC", "-shared", "-o"])
                .args([&library, &source("custom_jwt.c")])
                .args(["-lcjson", "-lcrypto"]),
        );
        // It lives as long as the process: the janitor of the directories removes it.
        std::mem::forget(dir);
        library
    })
}
