//! Asks a server for a websocket: the HTTP request, and the answer with its reasons.
//!
//! Path and query may hold a signature: they are written to the server and to nothing else. A server's
//! message that repeats a part of them is not kept.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::client::{Response, generate_key};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::handshake::machine::TryParse;

use super::duplex::Stream;
use super::web_socket::WebSocketBytes;
use crate::broker::error::BrokerError;
use crate::broker::remote::facts::{RemoteFacts, UpgradeFacts};
use crate::broker::remote::target::WebSocketRequest;

/// The subprotocol.
const MQTT: &str = "mqtt";

/// Most bytes of the answer's head.
const HEAD_BYTES: usize = 16 * 1024;

/// Most bytes that are read of the body of a refusal.
const BODY_BYTES: usize = 4 * 1024;

/// Upper bound for that body: it explains the refusal, and the refusal counts without it.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// Most characters that are kept of the server's message.
const MESSAGE_MAX: usize = 200;

/// A part of a query's value from this length on is a secret that no message may repeat. The names of
/// algorithms and times are shorter.
const SECRET_LENGTH: usize = 18;

/// The least limit of a message over the websocket: several packets may share it.
const LEAST_LIMIT: usize = 1024 * 1024;

/// Room for the head of a packet of the largest size.
const PACKET_HEAD: usize = 64 * 1024;

/// Upgrades the stream to a websocket. Messages of more than `max_packet_bytes`, and of more than a
/// MiB, are an error later.
pub async fn to_websocket(
    mut stream: Stream,
    request: &WebSocketRequest,
    max_packet_bytes: usize,
    facts: &mut RemoteFacts,
) -> Result<Stream, BrokerError> {
    let key = generate_key();
    let head = request_head(request, &key)?;
    let sent = async {
        stream.write_all(head.as_bytes()).await?;
        stream.flush().await
    };
    // The answer may be on its way all the same.
    let _the_read_fails_too = sent.await;
    let mut received = BytesMut::new();
    let response = read_head(&mut stream, &mut received).await?;
    if response.status().as_u16() != 101 {
        let body = read_body(&mut stream, received, content_length(&response)).await;
        let refused = refusal(&response, &body, request);
        facts.upgrade = Some(refused.clone());
        let UpgradeFacts { status, error_type, message, date } = refused;
        return Err(BrokerError::Upgrade { status, error_type, message, date });
    }
    facts.upgrade = Some(refusal(&response, b"", request));
    check(&response, &key).map_err(BrokerError::NotUpgraded)?;
    let limit = max_packet_bytes.saturating_add(PACKET_HEAD).max(LEAST_LIMIT);
    Ok(Box::new(WebSocketBytes::of_client(stream, received.to_vec(), limit)))
}

// --- private helpers ---

/// The request; a text that would break it is an error.
fn request_head(request: &WebSocketRequest, key: &str) -> Result<String, BrokerError> {
    let (path, host) = (request.path_and_query.expose(), &request.host);
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !path.starts_with('/') || !is_plain(path) || !is_plain(host) {
        let why = "the websocket's host or path has characters that HTTP does not allow";
        return Err(BrokerError::Unsendable(why.to_owned()));
    }
    Ok(format!(
        "GET {path} HTTP/1.1\r\n\
         Host: {host}\r\n\
         Connection: Upgrade\r\n\
         Upgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {key}\r\n\
         Sec-WebSocket-Protocol: {MQTT}\r\n\r\n"
    ))
}

/// Reads the answer's head; what follows it stays in `received`.
async fn read_head(stream: &mut Stream, received: &mut BytesMut) -> Result<Response, BrokerError> {
    loop {
        if stream.read_buf(received).await.map_err(BrokerError::of_io)? == 0 {
            return Err(BrokerError::NotUpgraded("the connection ended before its end"));
        }
        let parsed = Response::try_parse(received);
        match parsed.map_err(|_| BrokerError::NotUpgraded("it is not HTTP/1.1"))? {
            Some((used, response)) => {
                received.advance(used);
                return Ok(response);
            }
            None if received.len() >= HEAD_BYTES => {
                return Err(BrokerError::NotUpgraded("its head has more than 16 KiB"));
            }
            None => {}
        }
    }
}

/// Reads the body of a refusal, as far as it comes.
async fn read_body(stream: &mut Stream, mut body: BytesMut, length: Option<usize>) -> BytesMut {
    let wanted = length.unwrap_or(BODY_BYTES).min(BODY_BYTES);
    let reading = async {
        while body.len() < wanted && matches!(stream.read_buf(&mut body).await, Ok(1..)) {}
    };
    let _what_came_is_enough = timeout(BODY_TIMEOUT, reading).await;
    body.truncate(wanted);
    body
}

fn content_length(response: &Response) -> Option<usize> {
    header(response, "content-length")?.parse().ok()
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// What the server says in its answer.
fn refusal(response: &Response, body: &[u8], request: &WebSocketRequest) -> UpgradeFacts {
    let kept = |text: &str| {
        let plain: String = text.chars().filter(|character| !character.is_control()).collect();
        let plain = plain.trim();
        // The whole text is judged: a cut may leave the head of a secret.
        let is_kept = !plain.is_empty() && !repeats(plain, request);
        is_kept.then(|| plain.chars().take(MESSAGE_MAX).collect::<String>())
    };
    UpgradeFacts {
        status: response.status().as_u16(),
        // AWS appends the address of the error's definition.
        error_type: header(response, "x-amzn-errortype")
            .and_then(|text| kept(text.split(':').next().unwrap_or(text))),
        message: message(body).as_deref().and_then(kept),
        date: header(response, "date").and_then(kept),
    }
}

/// The message of a JSON body, or the text of another that is no page.
fn message(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    // A chunked body has its lengths around the object.
    let object = text.find('{').zip(text.rfind('}')).and_then(|(from, to)| text.get(from..=to));
    if let Some(object) = object
        && let Ok(value) = serde_json::from_str::<serde_json::Value>(object)
    {
        let field = ["message", "Message"].into_iter().find_map(|name| value[name].as_str());
        return field.map(str::to_owned);
    }
    let is_page = text.trim_start().starts_with('<');
    (!is_page).then(|| text.into_owned())
}

/// Whether a text repeats a secret of the request, as it is written or decoded.
fn repeats(text: &str, request: &WebSocketRequest) -> bool {
    let query = request.path_and_query.expose().split_once('?').map_or("", |(_, query)| query);
    let values = query.split('&').filter_map(|pair| pair.split_once('=').map(|(_, value)| value));
    // Between two escapes, a value is the same in both forms.
    let parts = values.flat_map(|value| {
        let (first, escaped) = value.split_once('%').unwrap_or((value, ""));
        std::iter::once(first).chain(escaped.split('%').map(|part| part.get(2..).unwrap_or("")))
    });
    parts
        .flat_map(|part| part.split(['+', '/', '=']))
        .any(|part| part.len() >= SECRET_LENGTH && text.contains(part))
}

/// Whether the answer is one to this request.
fn check(response: &Response, key: &str) -> Result<(), &'static str> {
    let is = |name, wanted: &str| {
        header(response, name).is_some_and(|text| {
            text.split(',').any(|token| token.trim().eq_ignore_ascii_case(wanted))
        })
    };
    if !is("upgrade", "websocket") || !is("connection", "upgrade") {
        return Err("it does not switch to a websocket");
    }
    if header(response, "sec-websocket-accept") != Some(&*derive_accept_key(key.as_bytes())) {
        return Err("its Sec-WebSocket-Accept does not belong to the request");
    }
    if header(response, "sec-websocket-extensions").is_some() {
        return Err("it uses an extension that was not offered");
    }
    if header(response, "sec-websocket-protocol") != Some(MQTT) {
        return Err("it does not name the subprotocol mqtt");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::secret::Secret;

    fn request(path: &str) -> WebSocketRequest {
        WebSocketRequest {
            path_and_query: Secret::new(path.to_owned()),
            host: "broker.example:8443".to_owned(),
        }
    }

    #[test]
    fn the_request_has_the_host_as_it_is_given_and_no_text_breaks_it() {
        let head = request_head(&request("/mqtt?X-Amz-Date=1%2F2"), "key").unwrap();
        assert!(
            head.starts_with(
                "GET /mqtt?X-Amz-Date=1%2F2 HTTP/1.1\r\nHost: broker.example:8443\r\n"
            )
        );
        for path in ["/a b", "/a\r\nX: y", "mqtt", "/\u{e4}", ""] {
            let refused = request_head(&request(path), "key").unwrap_err();
            assert!(!refused.to_string().contains("X: y"));
        }
        let host = WebSocketRequest { host: "a\r\nb".to_owned(), ..request("/mqtt") };
        assert!(request_head(&host, "key").is_err());
    }

    #[test]
    fn a_message_is_that_of_the_json_or_the_text_and_never_a_page() {
        for (body, found) in [
            (r#"{"message":"Forbidden","traceId":"t"}"#, Some("Forbidden")),
            ("1e\r\n{\"Message\":\"no\"}\r\n0\r\n\r\n", Some("no")),
            (r#"{"error":"x"}"#, None),
            ("not here", Some("not here")),
            ("<html>403</html>", None),
        ] {
            assert_eq!(message(body.as_bytes()).as_deref(), found, "{body}");
        }
        assert_eq!(message(b"\xff").as_deref(), Some("\u{fffd}"));
    }

    #[test]
    fn a_message_that_repeats_a_secret_of_the_request_is_not_kept() {
        let query = "/mqtt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Security-Token=AAAA%2FBBBBBBBBBBBBBBBBBBBB%3D";
        let request = request(query);
        assert!(repeats("the token AAAA/BBBBBBBBBBBBBBBBBBBB= is bad", &request));
        assert!(!repeats("X-Amz-Security-Token is bad, use AWS4-HMAC-SHA256", &request));

        let answer = Response::new(None);
        let kept = |text: &str| refusal(&answer, text.as_bytes(), &request).message;
        let plain = "x".repeat(MESSAGE_MAX - 8);
        assert_eq!(kept(&format!("{plain} AAAA/BBBBBBBBBBBBBBBBBBBB=")), None);
        assert_eq!(kept(&format!("{plain}{plain}")).unwrap().len(), MESSAGE_MAX);
    }
}
