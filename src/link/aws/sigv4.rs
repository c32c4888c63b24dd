//! Signs the URL of a websocket to AWS IoT Core: Signature Version 4 in the query.
//!
//! It reads no clock and keeps nothing. The session token is a part of the URL and not of what is
//! signed: AWS IoT Core wants it so.

use std::fmt::Write;

use ring::digest::{SHA256, digest};
use ring::hmac::{self, HMAC_SHA256, Key};

use crate::config::secret::Secret;
use crate::domain::hex;
use crate::domain::time::Timestamp;
use crate::link::aws::signing_keys::AwsCredentials;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The name that AWS IoT Core has in signatures.
const SERVICE: &str = "iotdevicegateway";

/// The path of MQTT over a websocket.
const PATH: &str = "/mqtt";

/// Parameters of the query that [`redacted`] hides.
const SECRET_PARAMETERS: [&str; 2] = ["X-Amz-Signature", "X-Amz-Security-Token"];

/// The path and query of a signed upgrade. `host` is the value of the `Host` header exactly as it is
/// sent.
pub fn presign(host: &str, region: &str, credentials: &AwsCredentials, now: Timestamp) -> Secret {
    let time = now.to_utc().format("%Y%m%dT%H%M%SZ").to_string();
    let scope = Scope { time: &time, region };
    let key_and_scope = encoded(&format!("{}/{}", credentials.access_key_id, scope.text()));
    let query = format!(
        "X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={key_and_scope}&X-Amz-Date={time}\
         &X-Amz-SignedHeaders=host"
    );
    let signature = scope.signature(host, &query, credentials.secret.expose());
    let mut signed = format!("{PATH}?{query}&X-Amz-Signature={signature}");
    if let Some(token) = &credentials.session_token {
        signed.push_str("&X-Amz-Security-Token=");
        signed.push_str(&encoded(token.expose()));
    }
    Secret::new(signed)
}

/// The `Host` header of a connection: the port is a part of it, unless it is the usual one.
pub fn host_header(host: &str, port: u16, usual_port: u16) -> String {
    let is_v6 = host.contains(':') && !host.starts_with('[');
    let host = if is_v6 { format!("[{host}]") } else { host.to_owned() };
    if port == usual_port { host } else { format!("{host}:{port}") }
}

/// A signed path and query, without its signature and its session token.
pub fn redacted(path_and_query: &Secret) -> String {
    let Some((path, query)) = path_and_query.expose().split_once('?') else {
        return String::new();
    };
    let shown: Vec<_> = query.split('&').map(redacted_parameter).collect();
    format!("{path}?{}", shown.join("&"))
}

// --- private helpers ---

/// The day, region and service that a signing key is for.
struct Scope<'a> {
    time: &'a str,
    region: &'a str,
}

impl Scope<'_> {
    fn day(&self) -> &str {
        self.time.get(..8).unwrap_or_default()
    }

    fn text(&self) -> String {
        format!("{}/{}/{SERVICE}/aws4_request", self.day(), self.region)
    }

    /// `query` is canonical: sorted and encoded.
    fn signature(&self, host: &str, query: &str, secret: &str) -> String {
        let no_payload = sha256_hex("");
        let request = format!("GET\n{PATH}\n{query}\nhost:{host}\n\nhost\n{no_payload}");
        let (time, scope) = (self.time, self.text());
        let to_sign = format!("{ALGORITHM}\n{time}\n{scope}\n{}", sha256_hex(&request));
        let parts = [self.day(), self.region, SERVICE, "aws4_request", &to_sign];
        let first = format!("AWS4{secret}").into_bytes();
        hex::encode(&parts.into_iter().fold(first, |key, part| mac(&key, part)))
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&Key::new(HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

fn sha256_hex(text: &str) -> String {
    hex::encode(digest(&SHA256, text.as_bytes()).as_ref())
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 3 / 2);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(byte.into());
            }
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

fn redacted_parameter(parameter: &str) -> String {
    match parameter.split_once('=') {
        Some((name, _)) if SECRET_PARAMETERS.contains(&name) => format!("{name}=[secret]"),
        _ => parameter.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "example.iot.us-east-1.amazonaws.com";
    /// 2013-05-24T00:00:00Z, the time in AWS' examples.
    const TIME: Timestamp = Timestamp::from_micros(1_369_353_600_000_000);

    fn credentials(token: Option<&str>) -> AwsCredentials {
        AwsCredentials {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into()),
            session_token: token.map(|token| Secret::new(token.into())),
            obtained: TIME,
            expires: None,
        }
    }

    #[test]
    fn the_signature_is_that_of_botocore() {
        let url = presign(HOST, "us-east-1", &credentials(None), TIME);
        let expected = "/mqtt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=\
            AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fiotdevicegateway%2Faws4_request\
            &X-Amz-Date=20130524T000000Z&X-Amz-SignedHeaders=host&X-Amz-Signature=\
            efea84de20947750dbb884a21a8f51189f8b920a8445be2c36dd3d7373981b67";
        assert_eq!(url.expose(), expected);
    }

    #[test]
    fn another_query_has_the_signature_that_botocore_gives_it() {
        let query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=\
            AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fiotdevicegateway%2Faws4_request\
            &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host";
        let scope = Scope { time: "20130524T000000Z", region: "us-east-1" };
        let signature = scope.signature(HOST, query, "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        let expected = "3ec863617e7e6afa53fc5669c7db4983300818ddc18e72db53c6408d00f60d94";
        assert_eq!(signature, expected);
    }

    #[test]
    fn the_session_token_is_sent_and_not_signed() {
        let plain = presign(HOST, "us-east-1", &credentials(None), TIME);
        let url = presign(HOST, "us-east-1", &credentials(Some("a/b+c==")), TIME);
        let expected = format!("{}&X-Amz-Security-Token=a%2Fb%2Bc%3D%3D", plain.expose());
        assert_eq!(url.expose(), expected);
    }

    #[test]
    fn the_host_and_its_port_are_signed_as_they_are_sent() {
        assert_eq!(host_header("a.example", 443, 443), "a.example");
        assert_eq!(host_header("a.example", 8443, 443), "a.example:8443");
        assert_eq!(host_header("::1", 8443, 443), "[::1]:8443");
        let sign = |host| presign(host, "us-east-1", &credentials(None), TIME).expose().to_owned();
        assert_ne!(sign("a.example"), sign("a.example:8443"));
    }

    #[test]
    fn a_redacted_url_has_neither_signature_nor_token() {
        let shown = redacted(&presign(HOST, "us-east-1", &credentials(Some("tok")), TIME));
        assert!(shown.starts_with("/mqtt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA"));
        let end = "&X-Amz-Signature=[secret]&X-Amz-Security-Token=[secret]";
        assert!(shown.ends_with(end), "{shown}");
        let url = presign(HOST, "us-east-1", &credentials(None), TIME);
        assert!(!format!("{url:?}").contains("Signature"));
    }
}
