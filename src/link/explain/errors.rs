//! Failures of a connection that carry no reason code of MQTT: name, network, TLS, websocket, token.
//!
//! It names the fields of the links file; the sentences of the broker wing name other settings.

use tokio_rustls::rustls::{self, AlertDescription as Alert, CertificateError};

use super::codes::{login_fields, of_code};
use super::{CodePacket, FailureClass, LinkExplanation, field};
use crate::broker::error::BrokerError;
use crate::clock;
use crate::link::aws::server_date::ClockDifference;
use crate::link::kind::LinkKind;
use crate::link::login::LinkLoginError;
use crate::link::settings::{LinkAuth, LinkSettings};

/// What a failed login means: no packet was sent.
pub fn of_login(settings: &LinkSettings, error: &LinkLoginError) -> LinkExplanation {
    let advice = match error {
        LinkLoginError::Password(_) => format!("correct {}", field(settings, "password_file")),
        LinkLoginError::Credentials(error) => error.advice().to_owned(),
        LinkLoginError::Late => "check the network and the name server of this machine".to_owned(),
    };
    let class = match error {
        LinkLoginError::Late => FailureClass::Unavailable,
        _ => FailureClass::Refused,
    };
    LinkExplanation { what: format!("there is no login: {error}"), cause: None, advice, class }
}

/// The packet and the code of an error, if the other broker gave one.
pub fn code_of(error: &BrokerError) -> Option<(CodePacket, u8)> {
    match error {
        BrokerError::Refused { code, .. } => Some((CodePacket::ConnAck, *code)),
        BrokerError::Dismissed(reason) => Some((CodePacket::Disconnect, reason.code)),
        BrokerError::RenewalRefused { code } | BrokerError::AuthContinued { code } => {
            Some((CodePacket::Auth, *code))
        }
        BrokerError::SubscriptionRefused { code, .. } => Some((CodePacket::SubAck, *code)),
        _ => None,
    }
}

/// What an error of the connection means.
pub fn of_error(settings: &LinkSettings, error: &BrokerError) -> LinkExplanation {
    let named = |name| field(settings, name);
    let unavailable = |what: String, advice: String| LinkExplanation {
        what,
        cause: None,
        advice,
        class: FailureClass::Unavailable,
    };
    match error {
        BrokerError::Refused { code, reason, server } => {
            let explained = of_code(settings, CodePacket::ConnAck, *code, None);
            with_server(with_text(explained, reason.as_deref()), server.as_deref())
        }
        BrokerError::Dismissed(end) => {
            let explained = of_code(settings, CodePacket::Disconnect, end.code, None);
            with_server(with_text(explained, end.reason.as_deref()), end.server.as_deref())
        }
        BrokerError::RenewalRefused { code } => of_code(settings, CodePacket::Auth, *code, None),
        BrokerError::AuthContinued { code } => of_another_step(settings, *code),
        BrokerError::SubscriptionRefused { filter, code } => {
            of_code(settings, CodePacket::SubAck, *code, Some(filter))
        }
        BrokerError::Name { host, source } => {
            unavailable(format!("the name {host} has no address ({source})"), name_advice(settings))
        }
        BrokerError::Unreachable { address, source } => unavailable(
            format!("there is no connection to {address} ({source})"),
            format!("check {}, {} and firewalls", named("host"), named("port")),
        ),
        BrokerError::ConnectTimeout { address, seconds } => unavailable(
            format!("{address} did not accept the connection within {seconds} s"),
            timeout_advice(settings),
        ),
        BrokerError::Tls { source } => of_tls(settings, source),
        BrokerError::Upgrade { status, .. } => of_upgrade(settings, *status, error),
        BrokerError::ClosedEarly => unavailable(
            "the other broker closed the connection and did not answer CONNECT".to_owned(),
            closed_early_advice(settings),
        ),
        BrokerError::Closed => unavailable(
            "the other broker closed the connection without a reason".to_owned(),
            closed_advice(settings),
        ),
        BrokerError::TlsFile { .. } | BrokerError::Disk(_) | BrokerError::Mint(_) => {
            LinkExplanation {
                what: error.to_string(),
                cause: None,
                advice: "correct the file; Sluice reads it at each connect".to_owned(),
                class: FailureClass::Refused,
            }
        }
        BrokerError::Protocol(fault) if fault.is_out_of_turn() => unavailable(
            format!("the other broker sent {fault}, which breaks MQTT 5"),
            "read its log, and report it to its maker; Sluice connects again".to_owned(),
        ),
        BrokerError::Protocol(fault) => unavailable(
            format!("the other broker sent bytes that are not MQTT 5 ({fault})"),
            format!(
                "check {} and {}: they must lead to its MQTT 5",
                named("port"),
                named("transport")
            ),
        ),
        BrokerError::LoginAges => unavailable(
            "the login token ends soon".to_owned(),
            "Sluice connects again with a new token".to_owned(),
        ),
        other => of_rest(settings, other),
    }
}

/// A connection that works no longer, an answer that does not come, and what no link should meet.
fn of_rest(settings: &LinkSettings, error: &BrokerError) -> LinkExplanation {
    let named = |name| field(settings, name);
    let load =
        || "check the network, and the load of the other broker; Sluice connects again".to_owned();
    let (what, advice) = match error {
        BrokerError::NoAnswer { packet, seconds } => (
            format!("the other broker did not answer {packet} within {seconds} s"),
            if *packet == "CONNECT" {
                format!(
                    "check {} and {}: they must lead to its MQTT 5",
                    named("port"),
                    named("transport")
                )
            } else {
                load()
            },
        ),
        BrokerError::Broken(why) => {
            (format!("the connection to the other broker failed ({why})"), load())
        }
        BrokerError::WriteStalled { seconds } => {
            (format!("the other broker accepted no bytes for {seconds} s"), load())
        }
        BrokerError::Silent { seconds } => {
            (format!("the other broker sent nothing for {seconds} s"), load())
        }
        BrokerError::PacketStalled { seconds } => (
            format!(
                "a packet of the other broker did not end within {seconds} s, although bytes came"
            ),
            load(),
        ),
        BrokerError::NotUpgraded(why) => (
            format!("the other broker's answer to the request for a websocket is invalid ({why})"),
            format!("check {}, {} and {}", named("host"), named("port"), named("transport")),
        ),
        BrokerError::WebSocket(fault) => (
            format!("the websocket to the other broker ended: {fault}"),
            "read the log of the other broker; Sluice connects again".to_owned(),
        ),
        BrokerError::Downgraded { filter } => (
            format!("the other broker grants {filter} at QoS 0 only"),
            "allow QoS 1 at the other broker".to_owned(),
        ),
        BrokerError::Unsendable(why) => (
            format!("a packet of the link cannot be made ({why})"),
            format!("shorten {} and the filters of {}", login_fields(settings), named("ingest")),
        ),
        other => (other.to_string(), "read the log of the other broker".to_owned()),
    };
    LinkExplanation { what, cause: None, advice, class: FailureClass::Unavailable }
}

/// AUTH with a code that requires another step.
fn of_another_step(settings: &LinkSettings, code: u8) -> LinkExplanation {
    LinkExplanation {
        what: format!(
            "the other broker requires another step of authentication (AUTH with code 0x{code:02X})"
        ),
        cause: Some("Sluice has only the one step of a token".to_owned()),
        advice: match settings.auth {
            LinkAuth::Jwt { .. } => {
                format!("set {} to password or username", field(settings, "place"))
            }
            _ => format!("allow {} for this client there", login_fields(settings)),
        },
        class: FailureClass::Refused,
    }
}

/// The difference of the clocks that the server's date shows, if it matters.
fn server_clock(error: &BrokerError) -> Option<ClockDifference> {
    let BrokerError::Upgrade { date, .. } = error else { return None };
    ClockDifference::find(date.as_deref()?, clock::now())
}

fn of_upgrade(settings: &LinkSettings, status: u16, error: &BrokerError) -> LinkExplanation {
    let named = |name| field(settings, name);
    let login = login_fields(settings);
    let (cause, advice, class) = match (status, server_clock(error)) {
        (401 | 403, Some(clock)) => (
            format!("likely the clock: {clock}"),
            "correct the clock of this machine".to_owned(),
            FailureClass::Refused,
        ),
        (401 | 403, None) => (
            "likely the key, the region or the session token is wrong, the credentials have ended, \
             or a policy denies it"
                .to_owned(),
            format!("check {login}, and that the role may iot:Connect as {}", named("client_id")),
            FailureClass::Refused,
        ),
        (404, _) => (
            "likely the host serves no MQTT over websockets".to_owned(),
            format!("check {}", named("host")),
            FailureClass::Refused,
        ),
        (429 | 500..=599, _) => (
            "likely it is overloaded".to_owned(),
            "Sluice waits and tries again".to_owned(),
            FailureClass::Unavailable,
        ),
        _ => (
            "likely the host or the transport is wrong".to_owned(),
            format!("check {}, {} and {}", named("host"), named("port"), named("transport")),
            FailureClass::Refused,
        ),
    };
    LinkExplanation { what: error.to_string(), cause: Some(cause), advice, class }
}

fn of_tls(settings: &LinkSettings, source: &rustls::Error) -> LinkExplanation {
    use rustls::Error;
    let named = |name| field(settings, name);
    let advice = match source {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            format!("set {} to the authority that signs its certificate", named("ca_cert"))
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!("set {} to a name of its certificate", named("host")),
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "renew its certificate, or correct the clock of this machine".to_owned(),
        Error::AlertReceived(
            Alert::CertificateRequired | Alert::HandshakeFailure | Alert::AccessDenied,
        ) => format!(
            "likely it wants a client certificate: set {} to certificate, with {} and {}",
            named("auth"),
            named("cert"),
            named("key")
        ),
        Error::AlertReceived(
            Alert::BadCertificate
            | Alert::UnknownCA
            | Alert::CertificateUnknown
            | Alert::UnsupportedCertificate
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::DecryptError,
        ) => format!("set {} to a certificate that the other broker accepts", named("cert")),
        Error::AlertReceived(Alert::NoApplicationProtocol) => {
            format!(
                "likely this port is for another login: check {} and {}",
                named("port"),
                named("auth")
            )
        }
        Error::InvalidMessage(_) => {
            format!("its answer is not TLS: check {} and {}", named("port"), named("transport"))
        }
        _ => format!("check {}, {} and {}", named("host"), named("port"), named("ca_cert")),
    };
    let what = format!("TLS with the other broker failed ({source})");
    LinkExplanation { what, cause: None, advice, class: FailureClass::Refused }
}

fn name_advice(settings: &LinkSettings) -> String {
    let host = field(settings, "host");
    match settings.kind {
        LinkKind::EventGrid => format!(
            "check the namespace and the region in {host}, and whether the namespace has only a \
             private endpoint"
        ),
        LinkKind::AwsIot => format!("check the endpoint and the region in {host}"),
        LinkKind::Mqtt => format!("check {host} and the name server"),
    }
}

fn timeout_advice(settings: &LinkSettings) -> String {
    let transport = field(settings, "transport");
    if settings.port == 8883 && settings.kind != LinkKind::Mqtt {
        return format!("likely a firewall blocks port 8883: allow it, or set {transport} to wss");
    }
    format!("check {}, {} and firewalls", field(settings, "host"), field(settings, "port"))
}

fn closed_early_advice(settings: &LinkSettings) -> String {
    let host = field(settings, "host");
    match settings.kind {
        LinkKind::EventGrid if !settings.host.contains(".ts.") => format!(
            "likely this is the HTTP endpoint: set {host} to the MQTT host name with .ts. in it"
        ),
        LinkKind::EventGrid => {
            format!("likely the IP filter of the namespace, or a wrong {host}: check both")
        }
        LinkKind::AwsIot => {
            "likely the certificate is not active, or its policy denies iot:Connect".to_owned()
        }
        LinkKind::Mqtt => format!(
            "check {} and {}, and read its log",
            field(settings, "port"),
            field(settings, "transport")
        ),
    }
}

fn closed_advice(settings: &LinkSettings) -> String {
    let id = field(settings, "client_id");
    match settings.kind {
        LinkKind::AwsIot => format!(
            "likely a policy denies what was sent last, or another client uses the id in {id}"
        ),
        _ => {
            format!("read its log; if this repeats, check that no other client uses the id in {id}")
        }
    }
}

/// The server that the other broker names: Sluice never connects to it by itself.
fn with_server(explanation: LinkExplanation, server: Option<&str>) -> LinkExplanation {
    match server {
        Some(server) => LinkExplanation {
            what: format!("{}, and names the server {server}", explanation.what),
            ..explanation
        },
        None => explanation,
    }
}

fn with_text(explanation: LinkExplanation, reason: Option<&str>) -> LinkExplanation {
    match reason {
        Some(reason) => {
            LinkExplanation { what: format!("{} (\"{reason}\")", explanation.what), ..explanation }
        }
        None => explanation,
    }
}
