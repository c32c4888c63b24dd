//! What to change at the daemon's settings or at the local broker, for each way a connection fails.
//!
//! The names of the settings are the daemon's; a link has its own explanations.

use tokio_rustls::rustls;
use tokio_rustls::rustls::AlertDescription as Alert;

/// Reason code: another client uses the client id.
pub const SESSION_TAKEN_OVER: u8 = 0x8e;

/// After a TLS error.
pub fn tls_advice(error: &rustls::Error) -> &'static str {
    use rustls::{CertificateError, Error};
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the broker's certificate is signed by an unknown authority; set MQTT_CA_CERT to that authority"
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => {
            "the broker's certificate is for another name; set MQTT_HOST to a name or address in it"
        }
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "the broker's certificate has expired; renew it, or correct this machine's clock",
        Error::InvalidCertificate(_) => {
            "the broker's certificate is invalid; check it and MQTT_CA_CERT"
        }
        Error::AlertReceived(
            Alert::CertificateRequired
            | Alert::HandshakeFailure
            | Alert::NoCertificate
            | Alert::AccessDenied,
        ) => "the broker requires a client certificate; set MQTT_CLIENT_CERT and MQTT_CLIENT_KEY",
        Error::AlertReceived(
            Alert::BadCertificate
            | Alert::UnknownCA
            | Alert::CertificateUnknown
            | Alert::UnsupportedCertificate
            | Alert::DecryptError,
        ) => {
            "the broker does not accept MQTT_CLIENT_CERT; \
             use a certificate that an authority trusted by the broker has signed"
        }
        Error::AlertReceived(Alert::CertificateExpired) => {
            "the client certificate has expired; renew MQTT_CLIENT_CERT"
        }
        Error::AlertReceived(Alert::CertificateRevoked) => {
            "the client certificate is revoked; issue another MQTT_CLIENT_CERT"
        }
        Error::AlertReceived(Alert::ProtocolVersion) => {
            "the broker supports neither TLS 1.3 nor TLS 1.2; update it"
        }
        Error::InvalidMessage(_) => {
            "the broker's answer is not TLS; check MQTT_PORT, or unset MQTT_TLS"
        }
        _ => {
            "check MQTT_TLS, MQTT_CA_CERT, MQTT_CLIENT_CERT, MQTT_CLIENT_KEY, and the broker's log"
        }
    }
}

/// After CONNACK with a refusal.
pub fn connect_advice(code: u8) -> &'static str {
    match code {
        0x01 | 0x84 => "the broker does not support MQTT 5; use one that does, such as Mosquitto 2",
        0x02 | 0x85 => "the broker does not accept this client id; change MQTT_CLIENT_ID",
        0x04 | 0x86 => {
            "the user name or password is wrong; check MQTT_USERNAME and MQTT_PASSWORD, or MQTT_JWT_CLAIMS"
        }
        0x05 | 0x87 => {
            "this user may not connect; \
             check MQTT_USERNAME, MQTT_PASSWORD or MQTT_JWT_CLAIMS, and the broker's access rules"
        }
        0x8c => {
            "the broker does not support the authentication method CUSTOM-JWT; \
             set MQTT_JWT_AS=password or username"
        }
        0x03 | 0x88 | 0x89 => "the broker is unavailable or overloaded",
        0x8a => "the broker has banned this client; remove the ban at the broker",
        SESSION_TAKEN_OVER => {
            "another client uses this client id; give each instance its own MQTT_CLIENT_ID"
        }
        0x97 => "a quota of the broker is exhausted; raise it at the broker",
        0x9c | 0x9d => "the broker has another address; change MQTT_HOST",
        0x9f => "the broker limits the rate of connections",
        _ => "read the broker's log for the cause",
    }
}

/// After SUBACK with a refusal.
pub fn subscribe_advice(code: u8) -> &'static str {
    match code {
        0x87 => "let this user read MQTT_TOPIC in the broker's access rules",
        0x8f => "the broker does not accept this filter; change MQTT_TOPIC",
        0x97 => "a quota of the broker is exhausted; raise it at the broker",
        0x9e => {
            "the broker has no shared subscriptions; unset MQTT_SHARE_GROUP and run one instance"
        }
        0xa2 => "the broker has no wildcard subscriptions; use one that has them",
        _ => {
            "let this user read MQTT_TOPIC in the broker's access rules, and read the broker's log"
        }
    }
}

/// After DISCONNECT.
pub fn disconnect_advice(code: u8) -> &'static str {
    match code {
        SESSION_TAKEN_OVER => {
            "another client took over the session; give each instance its own MQTT_CLIENT_ID"
        }
        0x87 => "this user may no longer connect; check the broker's access rules",
        0x8b => "the broker is shutting down",
        0x8d => "the broker received no ping in time; check the load of this machine",
        0x93 => "the broker counts more unacknowledged messages than MQTT_RECEIVE_MAXIMUM allows",
        0x95 => "a packet exceeds the broker's limit; raise that limit",
        0x97 => "a quota of the broker is exhausted; raise it at the broker",
        0x98 => "an administrator ended the connection",
        _ => "read the broker's log for the cause",
    }
}
