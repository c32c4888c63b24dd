//! Reads what EST clients send: the credentials of a device, and its certificate request.
//!
//! A request may be base64 on one or more lines, PEM, or DER: clients differ. It judges neither.

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use axum::http::{HeaderMap, HeaderValue};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::domain::base64_text;
use crate::domain::ids::{DeviceId, DeviceKey, TenantId};

/// The longest body: the largest certificate request in base64, and its line ends.
pub(super) const MAX_BODY: usize = 32 * 1024;

/// The media type of a certificate request.
const PKCS10: &str = "application/pkcs10";

/// Characters of a line of base64; libest reads no longer one.
const LINE: usize = 64;

/// Some clients omit the padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The user name and the code of a device.
pub(super) struct DeviceLogin {
    pub device: DeviceKey,
    pub code: Vec<u8>,
}

/// How base64 is written. Neither form suits every client, and RFC 7030 leaves it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base64Form {
    /// In lines of 64, as OpenSSL and what is built on it read it.
    Lines,
    /// On one line without an end, as strongSwan reads it.
    OneLine,
}

// === impl Base64Form ===

impl Base64Form {
    /// The form for a client. strongSwan sends no user agent; clients that need lines do.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        if headers.contains_key(USER_AGENT) { Self::Lines } else { Self::OneLine }
    }

    pub(super) fn encode(self, der: &[u8]) -> String {
        let text = base64_text::encode(der);
        if self == Self::OneLine {
            return text;
        }
        let mut lines = String::with_capacity(text.len() + text.len() / LINE + 1);
        let mut rest = text.as_str();
        while let Some((line, after)) = rest.split_at_checked(LINE) {
            lines.push_str(line);
            lines.push('\n');
            rest = after;
        }
        if !rest.is_empty() {
            lines.push_str(rest);
            lines.push('\n');
        }
        lines
    }
}

/// The credentials of a request.
pub(super) enum Credentials {
    /// There are none.
    Missing,
    /// The user name is of no device.
    OfNoDevice,
    Device(DeviceLogin),
}

// === impl Credentials ===

impl Credentials {
    /// Reads the Basic credentials. With a tenant in the path, the user name is in that tenant and may
    /// omit it.
    pub(super) fn read(headers: &HeaderMap, tenant: Option<&TenantId>) -> Self {
        let value = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
        let Some((scheme, encoded)) = value.split_at_checked("Basic ".len()) else {
            return Self::Missing;
        };
        if !scheme.eq_ignore_ascii_case(b"Basic ") {
            return Self::Missing;
        }
        let decoded = LENIENT.decode(encoded.trim_ascii()).unwrap_or_default();
        let colon = decoded.iter().position(|byte| *byte == b':').unwrap_or_default();
        let device =
            std::str::from_utf8(&decoded[..colon]).ok().and_then(|user| device_of(user, tenant));
        match device {
            Some(device) => {
                Self::Device(DeviceLogin { device, code: decoded[colon + 1..].to_vec() })
            }
            None => Self::OfNoDevice,
        }
    }
}

/// Whether the content type is that of a certificate request.
pub(super) fn is_pkcs10(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(PKCS10)
}

/// The request in DER or PEM; `None` if it is neither, nor base64.
pub(super) fn request_of(body: &[u8]) -> Option<Vec<u8>> {
    let is_der = body.first() == Some(&0x30) && body.get(1).is_some_and(|length| *length >= 0x80);
    if is_der || body.trim_ascii_start().starts_with(b"-----BEGIN") {
        return Some(body.to_vec());
    }
    let text: Vec<u8> = body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    LENIENT.decode(text).ok().filter(|der| !der.is_empty())
}

// --- private helpers ---

fn device_of(user: &str, tenant: Option<&TenantId>) -> Option<DeviceKey> {
    match tenant {
        Some(tenant) if !user.contains('/') => {
            user.parse().ok().map(|device: DeviceId| DeviceKey::of(tenant, &device))
        }
        Some(tenant) => {
            DeviceKey::of_common_name(user).ok().filter(|device| device.tenant() == tenant.as_str())
        }
        None => DeviceKey::of_common_name(user).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The device and the code; `None`: the user name is of no device.
    fn login(credentials: &str, tenant: Option<&str>) -> Option<(String, Vec<u8>)> {
        let mut headers = HeaderMap::new();
        let value = format!("Basic {}", base64_text::encode(credentials.as_bytes()));
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        let tenant: Option<TenantId> = tenant.map(|tenant| tenant.parse().unwrap());
        match Credentials::read(&headers, tenant.as_ref()) {
            Credentials::Missing => panic!("{credentials} is not read"),
            Credentials::OfNoDevice => None,
            Credentials::Device(login) => Some((login.device.identity().to_owned(), login.code)),
        }
    }

    #[test]
    fn credentials_name_a_device_and_its_code() {
        let found = Some(("acme/device/pump-1".to_owned(), b"A:B".to_vec()));
        assert_eq!(login("acme/device/pump-1:A:B", None), found);
        assert_eq!(login("acme/pump-1:A:B", Some("acme")), found);
        assert_eq!(login("pump-1:A:B", Some("acme")), found);
        for (wrong, tenant) in [
            ("pump-1:A", None),
            ("acme/device/pump-1", None),
            ("acme/pump-1:A", Some("other")),
            ("a b:A", Some("acme")),
            (":A", Some("acme")),
            ("", None),
        ] {
            assert_eq!(login(wrong, tenant), None, "{wrong}");
        }
        let mut headers = HeaderMap::new();
        assert!(matches!(Credentials::read(&headers, None), Credentials::Missing));
        headers.insert(AUTHORIZATION, "Bearer x".parse().unwrap());
        assert!(matches!(Credentials::read(&headers, None), Credentials::Missing));
    }

    #[test]
    fn a_request_is_read_in_every_form_that_clients_send() {
        let der = [&[0x30, 0x82, 0, 200][..], &[7; 200]].concat();
        let text = base64_text::encode(&der);
        let pem = format!("-----BEGIN CERTIFICATE REQUEST-----\n{text}\n");
        assert_eq!(request_of(&der).as_deref(), Some(&*der));
        assert_eq!(request_of(text.as_bytes()).as_deref(), Some(&*der));
        assert_eq!(request_of(Base64Form::Lines.encode(&der).as_bytes()).as_deref(), Some(&*der));
        let crlf = Base64Form::Lines.encode(&der).replace('\n', "\r\n");
        assert_eq!(request_of(crlf.as_bytes()).as_deref(), Some(&*der));
        assert_eq!(request_of(text.trim_end_matches('=').as_bytes()).as_deref(), Some(&*der));
        assert_eq!(request_of(pem.as_bytes()).as_deref(), Some(pem.as_bytes()));
        for wrong in [&b""[..], b"\n", b"%%%", b"hello world!"] {
            assert!(request_of(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn base64_is_written_in_lines_of_64_unless_the_client_is_strongswan() {
        let encode = |der: &[u8]| Base64Form::Lines.encode(der);
        assert_eq!(encode(&[]), "");
        let lines: Vec<_> = encode(&[0; 100]).split('\n').map(str::len).collect();
        assert_eq!(lines, [64, 64, 8, 0]);
        assert_eq!(encode(&[0; 48]), format!("{}\n", "A".repeat(64)));
        assert_eq!(Base64Form::OneLine.encode(&[0; 96]), "A".repeat(128));
        let mut headers = HeaderMap::new();
        assert_eq!(Base64Form::of(&headers), Base64Form::OneLine);
        headers.insert(USER_AGENT, "curl/8".parse().unwrap());
        assert_eq!(Base64Form::of(&headers), Base64Form::Lines);
    }
}
