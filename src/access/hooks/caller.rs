//! The sender of a request as the broker reports it, and the proof it offers.
//!
//! It verifies nothing. The proof alone decides the kind of claim: a name beside a token never
//! makes a device or a guest.

use super::guest::GuestId;
use crate::access::tokens::cache::TokenCache;
use crate::domain::ids::DeviceKey;
use crate::domain::probe;

/// The identifying fields of one request.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// The token of an Authorization header.
    bearer: Option<&'a str>,
    /// The user name; of a client with a certificate, its common name.
    username: Option<&'a str>,
    /// The client id; empty if the request has none.
    pub client_id: &'a str,
}

/// What the sender claims to be, and by which proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim<'a> {
    /// A token in the request itself, and a user name that is not the token.
    Token {
        /// The token.
        token: &'a str,
        /// The name.
        name: Option<&'a str>,
    },
    /// A device, by its common name.
    Device(DeviceKey),
    /// The probe that tests the isolation of the broker, by its common name.
    Probe,
    /// A guest, by its identity.
    Guest(&'a str),
    /// Any other name.
    Name(&'a str),
    /// Neither a token nor a name.
    Anonymous,
}

// === impl Caller ===

impl<'a> Caller<'a> {
    /// Reads the fields of a request. The plugin's jwt backend sends every user name as a bearer
    /// token, also a common name.
    pub fn new(bearer: Option<&'a str>, username: Option<&'a str>, client_id: &'a str) -> Self {
        let is_name =
            |bearer: &str| bearer == probe::IDENTITY || DeviceKey::of_common_name(bearer).is_ok();
        let name = bearer.filter(|bearer| is_name(bearer));
        if name.is_some() {
            return Self { bearer: None, username: name, client_id };
        }
        Self { bearer, username, client_id }
    }

    /// Classifies the claim. A token takes precedence over a name.
    pub fn claim(self) -> Claim<'a> {
        if let Some(token) = self.bearer {
            let name = self.username.filter(|name| *name != token);
            return Claim::Token { token, name };
        }
        let Some(name) = self.username else { return Claim::Anonymous };
        if TokenCache::is_token(name) {
            return Claim::Token { token: name, name: None };
        }
        match DeviceKey::of_common_name(name) {
            Ok(device) => Claim::Device(device),
            Err(_) if name == probe::IDENTITY => Claim::Probe,
            Err(_) if name.parse::<GuestId>().is_ok() => Claim::Guest(name),
            Err(_) => Claim::Name(name),
        }
    }

    /// The user name.
    pub const fn username(self) -> Option<&'a str> {
        self.username
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_counts_before_any_name_beside_it() {
        let guest = format!("guest-{}", "0123456789abcdef".repeat(2));
        let claim = |bearer, name| Caller::new(bearer, name, "c").claim();
        for name in ["acme/device/pump-1", &guest, "alice"] {
            assert_eq!(
                claim(Some("ey.a.b"), Some(name)),
                Claim::Token { token: "ey.a.b", name: Some(name) }
            );
        }
        assert_eq!(
            claim(Some("ey.a.b"), Some("ey.a.b")),
            Claim::Token { token: "ey.a.b", name: None }
        );
        assert_eq!(claim(None, Some("ey.a.b")), Claim::Token { token: "ey.a.b", name: None });
        assert!(matches!(claim(None, Some("acme/pump-1")), Claim::Device(_)));
        assert!(matches!(claim(Some("acme/device/pump-1"), None), Claim::Device(_)));
        assert_eq!(claim(None, Some(&guest)), Claim::Guest(&guest));
        assert_eq!(claim(None, Some(probe::IDENTITY)), Claim::Probe);
        assert_eq!(claim(Some(probe::IDENTITY), None), Claim::Probe);
        assert_eq!(claim(None, Some("alice")), Claim::Name("alice"));
        assert_eq!(claim(None, None), Claim::Anonymous);
    }
}
