//! What AWS wants of a link: credentials, and a URL that is signed with them.
//!
//! It opens no MQTT connection. AWS judges the signature at the upgrade to a websocket only, so
//! nothing here ends a connection.
//!
//! In reading order: [`signing_keys`] are the credentials; [`credentials`] decides which of them a
//! connection uses and when to get others; [`environment`], [`profile`] and [`cognito`] are where they
//! come from, [`identity`] keeps the identity of a guest; [`sigv4`] signs the URL; [`server_date`]
//! compares the clocks; [`protocol_names`] are what TLS names the protocol.

pub mod cognito;
pub mod cognito_error;
pub mod credentials;
pub mod environment;
#[cfg(test)]
mod guest_tests;
pub mod identity;
pub mod profile;
pub mod protocol_names;
pub mod server_date;
pub mod signing_keys;
pub mod sigv4;

pub use signing_keys::AwsCredentials;
pub use sigv4::presign;
