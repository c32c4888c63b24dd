//! The authorities of a fleet with cells: a root, and one below it for each cell; and their devices.

use std::process::Command;

use serde_json::Value;

use crate::support::daemon::Settings;
use crate::support::mosquitto::Mosquitto;
use crate::support::process::find_program;

/// The registry, and an authority below the root for each of three cells.
pub struct Chain {
    pub settings: Settings,
}

// === impl Chain ===

impl Chain {
    pub fn new(database_url: &str) -> Self {
        let settings = Settings::empty().set("DATABASE_URL", database_url);
        let chain = Self { settings };
        let path = |name: &str| chain.path(name);
        chain.settings.run(&[
            "ca",
            "init",
            "--intermediates",
            "--cert",
            &path("root.crt"),
            "--key",
            &path("root.key"),
            "--crl",
            &path("root-crl.pem"),
            "--server-name",
            "localhost",
            "--server-name",
            "127.0.0.1",
        ]);
        for cell in ["north", "south", "west"] {
            let file = |suffix: &str| chain.path(&format!("{cell}{suffix}"));
            chain.settings.run(&[
                "ca",
                "issue-intermediate",
                "--name",
                &format!("Cell {cell}"),
                "--cert",
                &file(".crt"),
                "--key",
                &file(".key"),
                "--crl",
                &file("-crl.pem"),
                "--device-chain",
                &file("-chain.crt"),
                "--root-cert",
                &path("root.crt"),
                "--root-key",
                &path("root.key"),
            ]);
        }
        chain
    }

    pub fn path(&self, name: &str) -> String {
        self.settings.dir().path().join(name).to_str().unwrap().to_owned()
    }

    /// The settings of who signs for a cell, or with the root.
    pub fn signer(&self, authority: &str) -> Settings {
        let settings = self.settings.clone();
        settings
            .set("DEVICE_CA_CERT_PATH", &self.path(&format!("{authority}.crt")))
            .set("DEVICE_CA_KEY_PATH", &self.path(&format!("{authority}.key")))
    }

    pub fn issue(&self, authority: &str, device: &str) -> String {
        let said = self.issued(&self.signer(authority), device, &[]);
        said["id"].as_str().unwrap().to_owned()
    }

    /// Issues to a device with a key made here, `<device>.crt` and `<device>.key`; what was printed.
    pub fn issued(&self, signer: &Settings, device: &str, more: &[&str]) -> Value {
        let (key, out) = (self.path(&format!("{device}.key")), self.path(&format!("{device}.crt")));
        let line = ["cert", "issue", "acme", device, "--new-key", "--key-out", &key, "--out", &out];
        let said = signer.run(&[&line[..], &["--output", "json"], more].concat());
        serde_json::from_str(&said).unwrap()
    }

    /// Whether the broker lets the device in; `chain` is sent after its certificate.
    pub fn connects(&self, broker: &Mosquitto, device: &str, chain: Option<&str>) -> bool {
        self.publishes(broker, device, chain, "x")
    }

    /// Whether the broker takes a message of the device.
    pub fn publishes(
        &self,
        broker: &Mosquitto,
        device: &str,
        chain: Option<&str>,
        topic: &str,
    ) -> bool {
        let mut certificate = std::fs::read_to_string(self.path(&format!("{device}.crt"))).unwrap();
        certificate += &chain
            .map_or_else(String::new, |file| std::fs::read_to_string(self.path(file)).unwrap());
        let certificate = self.settings.dir().write("sent.crt", certificate);
        let port = broker.tls_port().to_string();
        let output = Command::new(find_program("mosquitto_pub").unwrap())
            .args(["-V", "5", "-h", "localhost", "-p", &port, "-q", "1", "-t", topic])
            .args(["-m", "{\"metrics\":{\"t\":1}}", "--cafile", &self.path("server-ca.crt")])
            .args(["--key", &self.path(&format!("{device}.key"))])
            .arg("--cert")
            .arg(certificate)
            .output()
            .unwrap();
        output.status.success()
    }
}
