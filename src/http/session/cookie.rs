//! The cookie of a session, and the token that each change must repeat.
//!
//! The cookie holds 256 random bits. Postgres has their SHA-256 only, and the token follows from
//! them: a page of another origin can send the cookie, but neither read it nor compute the token.

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};

use super::arrival::Arrival;
use crate::domain::token::{NoRandomBytes, SecretToken, TokenHash};

/// The name over HTTPS: browsers accept it only with Secure, without Domain, and for all paths.
const OVER_HTTPS: &str = "__Host-sluice";

/// The name where TLS is absent.
const OVER_HTTP: &str = "sluice_session";

/// The digits of a secret.
const DIGITS: usize = 64;

/// The secret of one session, as its cookie holds it.
pub(crate) struct SessionSecret(String);

// === impl SessionSecret ===

impl SessionSecret {
    /// Makes a new one.
    pub(crate) fn generate() -> Result<Self, NoRandomBytes> {
        Ok(Self(SecretToken::generate()?.into_text()))
    }

    /// The secret of a request's cookie. A request by HTTPS has it in the cookie that only HTTPS can
    /// set.
    pub(crate) fn of(headers: &HeaderMap, arrival: &Arrival) -> Option<Self> {
        let wanted = name(arrival);
        let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
        let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            (name == wanted).then_some(value)
        });
        let value = pairs.next()?;
        let is_secret = value.len() == DIGITS && value.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_secret.then(|| Self(value.to_owned()))
    }

    /// The hash, which the table stores.
    pub(crate) fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }

    /// The token that each change must repeat.
    pub(crate) fn csrf(&self) -> String {
        TokenHash::of(format!("sluice csrf {}", self.0)).to_hex()
    }

    /// The proof that the bearer of `ADMIN_TOKEN` opened the session. Without the cookie it says
    /// nothing about the token.
    pub(crate) fn proof_of(&self, admin_token: &TokenHash) -> TokenHash {
        TokenHash::of(format!("sluice proof {} {}", self.0, admin_token.to_hex()))
    }

    /// The header that gives the cookie to the browser. It ends with the browser's session; the row
    /// ends it earlier.
    pub(crate) fn set_cookie(&self, arrival: &Arrival) -> HeaderValue {
        cookie(arrival, &self.0, "")
    }
}

impl std::fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionSecret(..)")
    }
}

/// The header that removes the cookie.
pub(crate) fn clear_cookie(arrival: &Arrival) -> HeaderValue {
    cookie(arrival, "", "; Max-Age=0")
}

// === private helpers ===

fn name(arrival: &Arrival) -> &'static str {
    if arrival.is_https { OVER_HTTPS } else { OVER_HTTP }
}

/// SameSite=Lax keeps links of chats and dashboards working; changes need the token anyway.
fn cookie(arrival: &Arrival, value: &str, more: &str) -> HeaderValue {
    let secure = if arrival.is_https { "; Secure" } else { "" };
    let text = format!("{}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{more}", name(arrival));
    // The text has ASCII letters, digits and signs only.
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn arrival(is_https: bool) -> Arrival {
        Arrival {
            client: Ipv4Addr::LOCALHOST.into(),
            is_of_proxy: false,
            has_own_name: true,
            is_https,
            may_sign_in: true,
        }
    }

    #[test]
    fn a_cookie_reads_back_and_only_by_the_way_it_was_set() {
        let secret = SessionSecret::generate().unwrap();
        for is_https in [false, true] {
            let set = secret.set_cookie(&arrival(is_https));
            let set = set.to_str().unwrap();
            assert!(set.contains("; Path=/; HttpOnly; SameSite=Lax"), "{set}");
            assert_eq!(set.contains("; Secure"), is_https, "{set}");
            assert_eq!(set.starts_with("__Host-sluice="), is_https, "{set}");
            let header = format!("a=b; {}; c=d", set.split(';').next().unwrap());
            let headers = HeaderMap::from_iter([(COOKIE, header.parse().unwrap())]);
            let found = SessionSecret::of(&headers, &arrival(is_https)).unwrap();
            assert!(found.hash().equals(&secret.hash()));
            assert!(SessionSecret::of(&headers, &arrival(!is_https)).is_none());
        }
    }

    #[test]
    fn a_text_that_is_no_secret_is_no_cookie() {
        for value in ["", "x", &"g".repeat(64), &"a".repeat(63), &"a".repeat(65)] {
            let sent = format!("sluice_session={value}");
            let headers = HeaderMap::from_iter([(COOKIE, sent.parse().unwrap())]);
            assert!(SessionSecret::of(&headers, &arrival(false)).is_none(), "{value}");
        }
    }

    #[test]
    fn the_token_of_a_session_says_nothing_about_its_cookie() {
        let secret = SessionSecret::generate().unwrap();
        let (csrf, hash) = (secret.csrf(), secret.hash().to_hex());
        assert!(csrf.len() == 64 && csrf != hash && csrf != secret.0);
        let admin = TokenHash::of("one");
        assert!(!secret.proof_of(&admin).equals(&secret.proof_of(&TokenHash::of("two"))));
        assert_eq!(format!("{secret:?}"), "SessionSecret(..)");
    }
}
