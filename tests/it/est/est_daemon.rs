//! A daemon with an EST listener, the authority of a [`CaFixture`], and curl as the device.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::certificates::ca_fixture::CaFixture;
use crate::support::daemon::Daemon;
use crate::support::process::find_program;
use crate::support::test_daemon::TestDaemon;

/// Numbers the files of answers: devices ask at the same time.
static ANSWERS: AtomicU32 = AtomicU32::new(0);

pub struct EstDaemon {
    pub ca: CaFixture,
    pub daemon: Daemon,
    pub port: u16,
}

/// What curl got.
#[derive(Clone, Debug)]
pub struct EstAnswer {
    /// 0: there was no answer.
    pub status: u16,
    /// In lower case.
    pub headers: String,
    pub body: String,
}

/// The certificate of the listener, `<name>.crt`, and its key.
pub fn make_server_certificate(ca: &CaFixture, name: &str) {
    ca.openssl.done(&format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.crt -days 30 \
         -subj /CN=est.example -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
    ));
}

// === impl EstDaemon ===

impl EstDaemon {
    pub fn start() -> Self {
        Self::with(&[])
    }

    pub fn with(more: &[(&str, &str)]) -> Self {
        let ca = CaFixture::new();
        let url = ca.database.url();
        Self::on(ca, &url, more)
    }

    /// With the database at this URL.
    pub fn on(ca: CaFixture, url: &str, more: &[(&str, &str)]) -> Self {
        make_server_certificate(&ca, "est");
        let start = TestDaemon::builder()
            .listener("EST_BIND")
            .set("DATABASE_URL", url)
            .set("EST_SERVER_CERT", &ca.path("est.crt"))
            .set("EST_SERVER_KEY", &ca.path("est.key"));
        let started = start.with(&ca.files()).with(more).start();
        let port = started.listening("EST_BIND");
        Self { ca, daemon: started.daemon, port }
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}/.well-known/est{path}", self.port)
    }

    /// Makes a code; the options follow `enrol add acme`.
    pub fn made(&self, options: &[&str]) -> Value {
        self.ca.done(&[&["enrol", "add", "acme"], options].concat())
    }

    /// Makes a code; the code itself.
    pub fn code(&self, options: &[&str]) -> String {
        self.made(options)["code"].as_str().unwrap().to_owned()
    }

    /// Runs curl in the directory of the files, trusting the listener.
    pub fn curl(&self, path: &str, arguments: &[&str]) -> EstAnswer {
        let number = ANSWERS.fetch_add(1, Ordering::Relaxed);
        let (headers, body) = (format!("head-{number}"), format!("body-{number}"));
        let dir = self.ca.openssl.dir.path();
        let output = curl(dir)
            .args(["--max-time", "50", "--cacert", "est.crt", "-D", &headers, "-o", &body])
            .args(["-w", "%{http_code}"])
            .args(arguments)
            .arg(self.url(path))
            .output()
            .unwrap();
        let text = |name: &str| {
            let bytes = std::fs::read(dir.join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        EstAnswer {
            status: String::from_utf8_lossy(&output.stdout).parse().unwrap_or_default(),
            headers: text(&headers).to_lowercase(),
            body: text(&body),
        }
    }

    /// Sends the request in the file `csr` to a path, with further arguments of curl.
    pub fn post(&self, path: &str, csr: &str, arguments: &[&str]) -> EstAnswer {
        let data = format!("@{csr}");
        let fixed = ["-H", "Content-Type: application/pkcs10", "--data-binary", &data];
        self.curl(path, &[&fixed, arguments].concat())
    }

    /// Asks for the first certificate of a device of acme with a code.
    pub fn enrol(&self, device: &str, code: &str, csr: &str) -> EstAnswer {
        let login = format!("acme/device/{device}:{code}");
        self.post("/simpleenroll", csr, &["-u", &login])
    }

    /// Asks for the successor of the certificate `<name>.crt`.
    pub fn renew(&self, name: &str, csr: &str) -> EstAnswer {
        let (cert, key) = (format!("{name}.crt"), format!("{name}.key"));
        self.post("/simplereenroll", csr, &["--cert", &cert, "--key", &key])
    }

    /// Writes the certificate of an answer to `<name>.crt`; its text in PEM. OpenSSL reads the
    /// envelope and verifies the certificate.
    pub fn keep(&self, answer: &EstAnswer, name: &str) -> String {
        assert_eq!(answer.status, 200, "{answer:?}");
        let openssl = &self.ca.openssl;
        openssl.dir.write(&format!("{name}.b64"), &answer.body);
        openssl.done(&format!("base64 -d -in {name}.b64 -out {name}.p7"));
        openssl.done(&format!("pkcs7 -inform DER -in {name}.p7 -print_certs -out {name}.crt"));
        openssl.done(&format!("verify -CAfile ca.crt -purpose sslclient {name}.crt"));
        String::from_utf8(openssl.read(&format!("{name}.crt"))).unwrap()
    }

    /// Makes a device with a certificate, `<name>.crt` and `<name>.key`, and returns its id.
    pub fn enrolled(&self, name: &str) -> String {
        let code = self.code(&["--device", name]);
        self.ca.request(name, "/");
        self.keep(&self.enrol(name, &code, &format!("{name}.csr")), name);
        self.ca.database.value(&format!(
            "SELECT id FROM device_certificates WHERE device_id = '{name}' ORDER BY created_at DESC LIMIT 1"
        ))
    }

    /// How many certificates a device of acme has.
    pub fn certificates(&self, device: &str) -> String {
        self.ca.database.value(&format!(
            "SELECT count(*) FROM device_certificates WHERE tenant_id = 'acme' AND device_id = '{device}'"
        ))
    }
}

/// A silent curl.
pub fn curl(dir: &Path) -> Command {
    let program = find_program("curl").expect("curl is installed: scripts/test does it");
    let mut command = Command::new(program);
    command.args(["-sS", "-q"]).current_dir(dir);
    command
}
