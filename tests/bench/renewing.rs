//! Devices that renew their certificates over MQTT: from the request to the new certificate.
//!
//! OpenSSL makes keys, requests and proofs beforehand, as devices do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::asking::{OPEN, conclude, connect, packet_id, take};
use crate::processes::cpu;
use crate::stage::{Outcome, Stage};

const TENANT: &str = "bench";

/// A device with a certificate, and its request for the next.
struct Renewing {
    topics: String,
    request: Value,
}

/// So many devices renew, one after the other.
pub fn round(stage: &Stage, devices: u64) -> Outcome<crate::measure::Round> {
    let dir = stage.out.join("renewing");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir(&dir)?;
    let (certificate, key) = (text(&dir.join("ca.crt"))?, text(&dir.join("ca.key"))?);
    let crl = text(&dir.join("ca.crl"))?;
    let authority = [
        ("DEVICE_CA_CERT_PATH", certificate.as_str()),
        ("DEVICE_CA_KEY_PATH", key.as_str()),
        ("CERT_RENEW_OVER_MQTT", "1"),
        ("DEVICE_API", "1"),
    ];
    let init = ["ca", "init", "--cert", &certificate, "--key", &key, "--crl", &crl];
    stage.run(&[], &init)?;
    let mut database = stage.database()?;
    database.query(&format!(
        "INSERT INTO tenants (tenant_id, name) VALUES ('{TENANT}', '') ON CONFLICT DO NOTHING; \
         INSERT INTO devices (tenant_id, device_id) \
         SELECT '{TENANT}', 'r-' || n FROM generate_series(0, {}) n ON CONFLICT DO NOTHING; \
         DELETE FROM device_certificates WHERE tenant_id = '{TENANT}'",
        devices - 1
    ))?;
    let renewing: Vec<Renewing> = (0..devices)
        .map(|number| prepare(stage, &authority, &dir, number))
        .collect::<Outcome<_>>()?;
    let daemon = stage.daemon("bench-renewing", &[&OPEN[1..], &authority].concat())?;
    let before = cpu(daemon.process.id());
    let mut client =
        connect(stage.mqtt_port, "bench-renews", &format!("tenant/{TENANT}/device/+/response/#"))?;
    let (begun, mut waits, mut wrong) = (Instant::now(), Vec::new(), 0.0);
    for (number, Renewing { topics, request }) in (0..).zip(&renewing) {
        let sent = Instant::now();
        let topic = format!("{topics}/request/certificate/renew");
        client.publish(&topic, request.to_string().as_bytes(), packet_id(number))?;
        let responses = loop {
            let messages = take(&mut client)?;
            if !messages.is_empty() {
                break messages;
            }
        };
        waits.push(sent.elapsed());
        let is_right = responses.iter().all(|(_, payload)| {
            let response: Value = serde_json::from_slice(payload).unwrap_or_default();
            response["body"]["certificate"].as_str().is_some_and(|pem| pem.contains("BEGIN"))
        });
        wrong += f64::from(u8::from(!is_right));
    }
    conclude(stage, daemon, before, begun, waits, wrong)
}

/// A certificate in the registry, and the request of its device for another.
fn prepare(
    stage: &Stage,
    authority: &[(&str, &str)],
    dir: &Path,
    number: u64,
) -> Outcome<Renewing> {
    let device = format!("r-{number}");
    let file = |name: &str| dir.join(format!("{device}.{name}"));
    make_request(&file("key"), &file("csr"), "PEM")?;
    let (csr, out) = (text(&file("csr"))?, text(&file("crt"))?);
    stage.run(authority, &["cert", "issue", TENANT, &device, "--csr", &csr, "--out", &out])?;
    make_request(&file("new.key"), &file("new.der"), "DER")?;
    let der = fs::read(file("new.der"))?;
    let statement = format!(
        "sluice-renew-v1\n{TENANT}/device/{device}\n{}",
        hex(digest(&SHA256, &der).as_ref())
    );
    fs::write(file("statement"), &statement)?;
    let signed = Command::new("openssl")
        .args(["dgst", "-sha256", "-sign", &text(&file("key"))?, &text(&file("statement"))?])
        .output()?;
    let pem = fs::read_to_string(file("crt"))?;
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let in_use = hex(digest(&SHA256, &STANDARD.decode(body)?).as_ref());
    let request = json!({ "id": number, "csr": STANDARD.encode(der), "certificate": in_use,
        "proof": STANDARD.encode(signed.stdout) });
    Ok(Renewing { topics: format!("tenant/{TENANT}/device/{device}"), request })
}

fn make_request(key: &Path, csr: &Path, form: &str) -> Outcome<()> {
    let arguments = ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let made = Command::new("openssl")
        .args(arguments)
        .args(["-nodes", "-subj", "/", "-outform", form, "-keyout"])
        .arg(key)
        .arg("-out")
        .arg(csr)
        .stderr(Stdio::null())
        .status()?;
    if made.success() { Ok(()) } else { Err("openssl made no request".into()) }
}

fn text(path: &Path) -> Outcome<String> {
    Ok(PathBuf::from(path).into_os_string().into_string().map_err(|_| "a path")?)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}
