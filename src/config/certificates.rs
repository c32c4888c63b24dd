//! The certificate authority, the CRL, and how the broker hears of it.

use std::path::PathBuf;

/// The certificates' settings.
#[derive(Clone, Debug)]
pub struct CertificatesConfig {
    /// `DEVICE_CA_CERT_PATH`.
    pub ca_cert_path: Option<PathBuf>,
    /// `DEVICE_CA_KEY_PATH`.
    pub ca_key_path: Option<PathBuf>,
    /// `CRL_OUTPUT_PATH`.
    pub crl_output_path: Option<PathBuf>,
    /// `CRL_VALIDITY_HOURS`.
    pub crl_validity_hours: u32,
    /// `CRL_REFRESH_HOURS`.
    pub crl_refresh_hours: u32,
    /// `BROKER_PID_FILE`.
    pub broker_pid_file: Option<PathBuf>,
    /// `BROKER_RELOAD_COMMAND`.
    pub broker_reload_command: Option<String>,
    /// `BROKER_PROBE_ADDR`.
    pub broker_probe_addr: Option<String>,
    /// `CERT_VALIDITY_DAYS`.
    pub validity_days: u32,
    /// `CERT_CN_FORMAT`.
    pub cn_format: CnFormat,
    /// `ROTATION_GRACE_HOURS`.
    pub rotation_grace_hours: u32,
    /// `CERT_EXPIRY_WARNING_DAYS`.
    pub expiry_warning_days: u32,
}

/// How an identity is written into a common name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CnFormat {
    /// `<t>/device/<d>`: stock Mosquitto can hold a device to its own topics.
    Strict,
    /// `<t>/<d>`: the older form.
    Plain,
}
