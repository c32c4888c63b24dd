//! `certificate/renew` and `certificate/confirm`: a device renews its own certificate.
//!
//! The renewal needs a signature with the key of the certificate in use, or the device's token,
//! unless `CERT_RENEW_PROOF=0`: a message that a broker accepts by mistake must not become a
//! certificate. In a cell the answer is the address at which the device renews. No private key passes here, and nothing is signed for another device.

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::DeviceCall;
use super::reply::Rejection;
use crate::domain::base64_text;
use crate::domain::time::Timestamp;
use crate::http::api::problem::{Problem, ProblemKind};
use crate::http::api::registry_errors::CSR;
use crate::ingest::parse::parsed::TokenField;
use crate::pki::request::csr::MAX_REQUEST_BYTES;
use crate::registry::ActionContext;
use crate::registry::certificates::renew_by_device::{
    self, DeviceRenewal, DeviceRenewalError, HolderProof, RenewedCertificate,
};
use crate::store::certificates::Handle;
use crate::store::registry::audit::Actor;
use crate::telemetry::certificates::RenewedBy;

/// How PEM begins.
const PEM_BEGIN: &str = "-----BEGIN";

/// The field of the signature. A signature that is sent is verified, whatever the settings.
pub(super) const PROOF: &str = "proof";

/// How long a base64 text of a signature may be, with its line ends.
const MAX_PROOF_TEXT: usize = 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RenewParams {
    /// The certificate request, in PEM or as base64 of DER.
    csr: Option<String>,
    /// SHA-256 of the certificate in use, in hex.
    certificate: Option<String>,
    /// Base64 of the signature with its key.
    proof: Option<String>,
    /// The form of the new certificate.
    #[serde(default)]
    format: Form,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfirmParams {
    /// SHA-256 of the new certificate in hex, or its identifier.
    certificate: Option<String>,
}

/// The form of the new certificate in the response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Form {
    #[default]
    Pem,
    /// Base64 of DER: two thirds of the size.
    Der,
}

pub(super) async fn renew(call: &DeviceCall<'_>) -> Result<Value, Rejection> {
    if let Some(address) = &call.services.config.est.registry_url {
        return Err(elsewhere(address));
    }
    let settings = &call.services.config.certificates;
    if !settings.renew_over_mqtt {
        let detail = "devices do not renew over MQTT here: an operator sets CERT_RENEW_OVER_MQTT=1";
        return Err(Problem::new(ProblemKind::NoSuchPath, detail).into());
    }
    let params: RenewParams = call.params()?;
    let csr = read_request(params.csr.as_deref())?;
    let certificate = params.certificate.as_deref().map(read_handle).transpose()?;
    let signature = params.proof.as_deref().map(read_proof).transpose()?;
    let holder = match &signature {
        Some(signature) if certificate.is_some() => HolderProof::Signature(signature),
        Some(_) => return Err(missing_certificate()),
        None => verify_otherwise(call)?,
    };
    let actor = actor_of(call);
    let wish =
        DeviceRenewal { device: call.device, csr: &csr, certificate: certificate.as_ref(), holder };
    let renewed = renew_by_device::renew(context(call, &actor), settings, wish).await;
    let renewed = renewed.map_err(reject)?;
    if renewed.is_new {
        call.services.certificates.count_renewed(RenewedBy::Mqtt);
    }
    Ok(answer(&renewed, params.format))
}

pub(super) async fn confirm(call: &DeviceCall<'_>) -> Result<Value, Rejection> {
    let ConfirmParams { certificate } = call.params()?;
    let handle = certificate.as_deref().map(read_handle).transpose()?;
    let handle = handle.ok_or_else(missing_certificate)?;
    let actor = actor_of(call);
    let confirmed = renew_by_device::confirm(context(call, &actor), call.device, &handle).await;
    let (confirmed, retired) = confirmed.map_err(reject)?;
    Ok(json!({ "confirmed": confirmed, "retired": retired }))
}

// === private helpers ===

/// In a cell nothing is signed: the registry is there.
fn elsewhere(address: &str) -> Rejection {
    let detail = format!(
        "this cell renews no certificate: renew by EST, with the certificate in use, at {address}/.well-known/est/simplereenroll"
    );
    Rejection::from(Problem::new(ProblemKind::Elsewhere, detail)).renew_at(address)
}

fn context<'a>(call: &'a DeviceCall<'_>, actor: &'a Actor) -> ActionContext<'a> {
    ActionContext { database: &call.services.database, actor, now: call.now }
}

fn actor_of(call: &DeviceCall<'_>) -> Actor {
    Actor::new(&format!("device:{}/{}", call.device.tenant(), call.device.device()))
}

/// Without a signature: the token of the device, or by the settings the topic alone.
fn verify_otherwise(call: &DeviceCall<'_>) -> Result<HolderProof<'static>, Rejection> {
    let registered = call.registered.and_then(|device| device.token.as_ref());
    if let (TokenField::Hashed(given), Some(registered)) = (&call.token, registered) {
        if registered.equals(given) {
            return Ok(HolderProof::Verified);
        }
        let detail = "provision_token is not the token of the device";
        return Err(Problem::new(ProblemKind::ProofWrong, detail).into());
    }
    if !call.services.config.certificates.renew_proof {
        return Ok(HolderProof::Verified);
    }
    let detail = "the proof is missing: send proof, a signature with the key of the certificate in use, and certificate, \
        the SHA-256 of that certificate; a device with a token may send provision_token instead";
    Err(Problem::new(ProblemKind::ProofMissing, detail).into())
}

/// PEM, or the DER in base64.
fn read_request(text: Option<&str>) -> Result<Vec<u8>, Rejection> {
    let text = text.ok_or_else(|| {
        Problem::field(CSR, "send a certificate request, in PEM or as base64 of its DER")
    })?;
    if text.trim_start().starts_with(PEM_BEGIN) {
        return Ok(text.as_bytes().to_vec());
    }
    decode(text, MAX_REQUEST_BYTES)
        .ok_or_else(|| Problem::field(CSR, "it is neither PEM nor base64 of DER").into())
}

fn read_proof(text: &str) -> Result<Vec<u8>, Rejection> {
    decode(text, MAX_PROOF_TEXT)
        .ok_or_else(|| Problem::field(PROOF, "it is not base64 of a signature").into())
}

fn read_handle(text: &str) -> Result<Handle, Rejection> {
    text.parse().map_err(|why: &str| Problem::field("certificate", why).into())
}

/// Base64 with the line ends that OpenSSL writes.
fn decode(text: &str, max_bytes: usize) -> Option<Vec<u8>> {
    let plain: String = text.chars().filter(|char| !char.is_ascii_whitespace()).collect();
    base64_text::decode(&plain).filter(|bytes| !bytes.is_empty() && bytes.len() <= max_bytes)
}

fn missing_certificate() -> Rejection {
    Problem::field("certificate", "send the SHA-256 of the certificate, in hex").into()
}

fn reject(error: DeviceRenewalError) -> Rejection {
    let retry_after = match &error {
        DeviceRenewalError::TooOften { retry_after, .. } => Some(*retry_after),
        _ => None,
    };
    let rejection = Rejection::from(Problem::from(error));
    match retry_after {
        Some(seconds) => rejection.retry_after(seconds),
        None => rejection,
    }
}

fn answer(renewed: &RenewedCertificate, form: Form) -> Value {
    let row = &renewed.certificate;
    let certificate = match form {
        Form::Pem => renewed.pem.clone(),
        Form::Der => pem_body(&renewed.pem),
    };
    json!({
        "certificate_id": row.id,
        "fingerprint": row.fingerprint_sha256,
        "not_after": row.not_after,
        "certificate": certificate,
        "replaces": row.replaces,
        "retire_at": renewed.old_retires_at.map(Timestamp::to_utc),
    })
}

/// The base64 of a PEM text with one certificate, on one line.
fn pem_body(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with("-----")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_with_the_line_ends_of_openssl_and_within_its_bound() {
        assert_eq!(decode("QUJD\nREVG\n", 6).as_deref(), Some(&b"ABCDEF"[..]));
        for wrong in ["", "\n", "%%", "QUJDREVGRw=="] {
            assert_eq!(decode(wrong, 6), None, "{wrong}");
        }
    }

    #[test]
    fn the_body_of_pem_is_the_base64_of_its_der() {
        let pem = "-----BEGIN CERTIFICATE-----\nQUJD\nREVG\n-----END CERTIFICATE-----\n";
        assert_eq!(pem_body(pem), "QUJDREVG");
    }
}
