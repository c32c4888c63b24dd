//! Settings of the certificate authority, the CRL, and the notification of the broker.

use std::path::PathBuf;

use super::broker_acl::{self, BrokerAclConfig};
use crate::config::load::reader::SettingReader;
use crate::config::setting::{Setting, SettingKind, SettingRule};

/// Settings of certificates.
#[derive(Clone, Debug)]
pub struct CertificatesConfig {
    /// `DEVICE_CA_CERT_PATH`.
    pub ca_cert_path: Option<PathBuf>,
    /// `DEVICE_CA_KEY_PATH`.
    pub ca_key_path: Option<PathBuf>,
    /// `CELL_AUTHORITIES_DIR`.
    pub cell_authorities_dir: Option<PathBuf>,
    /// `CRL_OUTPUT_PATH`.
    pub crl_output_path: Option<PathBuf>,
    /// `CRL_VALIDITY_HOURS`.
    pub crl_validity_hours: u32,
    /// `CRL_REFRESH_HOURS`.
    pub crl_refresh_hours: u32,
    /// The broker's access rules.
    pub acl: BrokerAclConfig,
    /// `BROKER_PID_FILE`.
    pub broker_pid_file: Option<PathBuf>,
    /// `BROKER_RELOAD_COMMAND`.
    pub broker_reload_command: Option<String>,
    /// `BROKER_PROBE_ADDR`.
    pub broker_probe_addr: Option<String>,
    /// `BROKER_PROBE_CA_CERT`.
    pub broker_probe_ca_cert: Option<PathBuf>,
    /// `CERT_VALIDITY_DAYS`.
    pub validity_days: u32,
    /// `CERT_CN_FORMAT`.
    pub cn_format: CnFormat,
    /// `ROTATION_GRACE_HOURS`.
    pub rotation_grace_hours: u32,
    /// `CERT_EXPIRY_WARNING_DAYS`.
    pub expiry_warning_days: u32,
    /// `CERT_RENEW_OVER_MQTT`.
    pub renew_over_mqtt: bool,
    /// `CERT_RENEW_PROOF`.
    pub renew_proof: bool,
}

/// The form of a common name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CnFormat {
    /// `<t>/device/<d>`: stock Mosquitto can restrict a device to its own topics.
    Strict,
    /// `<t>/<d>`: the older form.
    Plain,
}

const COMMAND: SettingKind =
    SettingKind::Text(SettingRule { allowed: "a command line", holds: |_| true });
const ADDRESS: SettingKind = SettingKind::Text(SettingRule {
    allowed: "a host and a port, such as localhost:8883",
    holds: is_address,
});

/// Failed refreshes in a row that a CRL survives: an expired CRL locks out the whole fleet.
const CRL_REFRESHES: u32 = 7;

/// The rows of the settings table.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting::optional(
        "DEVICE_CA_CERT_PATH",
        SettingKind::Path,
        "The certificate of the authority that signs devices' certificates (PEM).",
    ),
    Setting::optional(
        "DEVICE_CA_KEY_PATH",
        SettingKind::Path,
        "The private key of that authority (PEM).",
    ),
    Setting::optional(
        "CELL_AUTHORITIES_DIR",
        SettingKind::Path,
        "At the registry of cells: a directory with NAME.crt and NAME.key of each cell's authority. A renewal is signed by the \
         authority that issued the certificate.",
    ),
    Setting::optional(
        "CRL_OUTPUT_PATH",
        SettingKind::Path,
        "The file that Sluice writes the CRL to, and that the broker reads.",
    ),
    Setting::whole(
        "CRL_VALIDITY_HOURS",
        "168",
        (7, 8760),
        "hours",
        "How long a CRL is valid. At least 7 x CRL_REFRESH_HOURS.",
    ),
    Setting::whole(
        "CRL_REFRESH_HOURS",
        "12",
        (1, 1251),
        "hours",
        "The interval at which Sluice writes a new CRL, even if nothing was revoked.",
    ),
    broker_acl::OUTPUT,
    broker_acl::TEMPLATE,
    broker_acl::MODE,
    Setting::optional(
        "BROKER_PID_FILE",
        SettingKind::Path,
        "The broker's PID file. Sluice sends the broker SIGHUP after it wrote a new CRL or new access rules.",
    ),
    Setting::optional(
        "BROKER_RELOAD_COMMAND",
        COMMAND,
        "The command that makes the broker read a new CRL or new access rules, where Sluice cannot send it a signal.",
    ),
    Setting::optional(
        "BROKER_PROBE_ADDR",
        ADDRESS,
        "The address at which devices reach the broker. Sluice connects there to check that the broker refuses revoked \
         certificates and isolates devices.",
    ),
    Setting::optional(
        "BROKER_PROBE_CA_CERT",
        SettingKind::Path,
        "The certificate authorities (PEM) that may have signed the broker's certificate at BROKER_PROBE_ADDR. Not set: \
         MQTT_CA_CERT, or if that is not set, the system's root certificates.",
    ),
    Setting::whole(
        "CERT_VALIDITY_DAYS",
        "365",
        (1, 3650),
        "days",
        "How long a new device certificate is valid.",
    ),
    Setting::with_default(
        "CERT_CN_FORMAT",
        "strict",
        SettingKind::Choice(&["strict", "plain"]),
        "The form of the common name. With strict, <tenant>/device/<device>, Mosquitto can limit a device to its own topics \
         without a plugin; plain is the older <tenant>/<device>.",
    ),
    Setting::whole(
        "ROTATION_GRACE_HOURS",
        "24",
        (0, 8760),
        "hours",
        "How long the old certificate stays valid after a rotation.",
    ),
    Setting::whole(
        "CERT_EXPIRY_WARNING_DAYS",
        "30",
        (0, 3650),
        "days",
        "How long before its expiry Sluice warns about a certificate: in the log, and with DEVICE_API=1 by a notice to the device.",
    ),
    Setting::switch(
        "CERT_RENEW_OVER_MQTT",
        "0",
        "Whether a device may renew its certificate by a request on its topic certificate/renew. It needs DEVICE_API=1 and the \
         authority's files.",
    ),
    Setting::switch(
        "CERT_RENEW_PROOF",
        "1",
        "Whether such a request must contain a signature with the key of the certificate in use, or the device's token. 0: the \
         topic is enough, so each client that may publish to it gets a certificate.",
    ),
];

// === impl CertificatesConfig ===

impl CertificatesConfig {
    pub(crate) fn read(reader: &mut SettingReader) -> Self {
        let crl_validity_hours = reader.whole("CRL_VALIDITY_HOURS");
        let crl_refresh_hours: u32 = reader.whole("CRL_REFRESH_HOURS");
        let least = crl_refresh_hours.saturating_mul(CRL_REFRESHES);
        if crl_validity_hours < least {
            let why = format!(
                "the first must be at least {CRL_REFRESHES} times the second, {least}: raise the first, or lower the second"
            );
            reader.conflict(&["CRL_VALIDITY_HOURS", "CRL_REFRESH_HOURS"], why);
        }
        let plain = reader.text("CERT_CN_FORMAT") == "plain";
        Self {
            ca_cert_path: reader.path("DEVICE_CA_CERT_PATH"),
            ca_key_path: reader.path("DEVICE_CA_KEY_PATH"),
            cell_authorities_dir: reader.path("CELL_AUTHORITIES_DIR"),
            crl_output_path: reader.path("CRL_OUTPUT_PATH"),
            crl_validity_hours,
            crl_refresh_hours,
            acl: BrokerAclConfig::read(reader),
            broker_pid_file: reader.path("BROKER_PID_FILE"),
            broker_reload_command: reader.optional_text("BROKER_RELOAD_COMMAND"),
            broker_probe_addr: reader.optional_text("BROKER_PROBE_ADDR"),
            broker_probe_ca_cert: reader.path("BROKER_PROBE_CA_CERT"),
            validity_days: reader.whole("CERT_VALIDITY_DAYS"),
            cn_format: if plain { CnFormat::Plain } else { CnFormat::Strict },
            rotation_grace_hours: reader.whole("ROTATION_GRACE_HOURS"),
            expiry_warning_days: reader.whole("CERT_EXPIRY_WARNING_DAYS"),
            renew_over_mqtt: reader.switch("CERT_RENEW_OVER_MQTT"),
            renew_proof: reader.switch("CERT_RENEW_PROOF"),
        }
    }
}

fn is_address(text: &str) -> bool {
    let fine = |(host, port): (&str, &str)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    !text.contains(char::is_whitespace) && text.rsplit_once(':').is_some_and(fine)
}
