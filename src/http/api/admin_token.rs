//! Authentication by `ADMIN_TOKEN`, or without one by being local: requests on a loopback listener.
//!
//! It stores and logs neither the token nor a wrong one.

use axum::http::header::{AUTHORIZATION, FORWARDED};
use axum::http::{HeaderMap, HeaderName, Method};

use super::problem::{Problem, ProblemKind};
use crate::config::secret::Secret;
use crate::domain::token::TokenHash;
use crate::http::listener::browser::{check_page, is_named_local};

/// The header in which a proxy names its client.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

const SET_A_TOKEN: &str = "without ADMIN_TOKEN the API serves only requests from this machine, on a loopback HTTP_BIND and \
    under a local name (localhost, 127.0.0.1); set ADMIN_TOKEN or ADMIN_TOKEN_FILE and send it as `Authorization: Bearer <token>`";

const NOT_A_TOKEN: &str = "the token in `Authorization` belongs to no operator, and ADMIN_TOKEN is not set; \
    send the token of an operator (`sluice operator list` names them)";

/// Marks a request that comes from this machine. Only the transport sets it; a request without it
/// counts as remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FromThisMachine;

/// The hash of the admin token. All hashes have the same length, so a comparison leaks nothing
/// about the token.
#[derive(Clone)]
pub(crate) struct AdminTokenHash(Option<TokenHash>);

// === impl AdminTokenHash ===

impl AdminTokenHash {
    pub(super) fn new(token: Option<&Secret>) -> Self {
        Self(token.map(|token| TokenHash::of(token.expose())))
    }

    /// Accepts the bearer of the token, or a local request without any token when there is none to
    /// compare; `is_local` comes from the transport. The token of an operator does not come here.
    pub(super) fn check(
        &self,
        method: &Method,
        headers: &HeaderMap,
        is_local: bool,
    ) -> Result<(), Problem> {
        match &self.0 {
            Some(token) => {
                let given = bearer(headers)
                    .ok_or_else(|| unauthorized("send `Authorization: Bearer <ADMIN_TOKEN>`"))?;
                let is_same = token.matches(given);
                is_same
                    .then_some(())
                    .ok_or_else(|| unauthorized("the bearer token is not ADMIN_TOKEN"))
            }
            None if is_local && headers.contains_key(AUTHORIZATION) => {
                Err(unauthorized(NOT_A_TOKEN))
            }
            None if is_local && is_named_local(headers) && !is_forwarded(headers) => {
                check_page(method, headers)
            }
            None => Err(Problem::new(ProblemKind::Forbidden, SET_A_TOKEN)),
        }
    }
}

// === private helpers ===

pub(super) fn unauthorized(detail: &str) -> Problem {
    Problem::new(ProblemKind::Unauthorized, detail)
}

pub(super) fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) =
        headers.get(AUTHORIZATION)?.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// Whether a proxy forwarded the request: behind a proxy on this machine, every request looks
/// local.
pub(crate) fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.contains_key(FORWARDED) || headers.contains_key(FORWARDED_FOR)
}

#[cfg(test)]
mod tests {
    use axum::http::header::{HOST, ORIGIN};

    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn with_a_token_only_its_bearer_is_authenticated() {
        let admin_token = AdminTokenHash::new(Some(&Secret::new("s3cret-token".into())));
        for (sent, is_accepted) in [
            ("Bearer s3cret-token", true),
            ("bearer  s3cret-token ", true),
            ("Bearer s3cret-tokem", false),
            ("Bearer ", false),
            ("Basic s3cret-token", false),
            ("s3cret-token", false),
        ] {
            assert_eq!(
                admin_token.check(&Method::POST, &headers(&[(AUTHORIZATION, sent)]), true).is_ok(),
                is_accepted,
                "{sent}"
            );
        }
        assert_eq!(
            admin_token.check(&Method::POST, &HeaderMap::new(), true).unwrap_err().kind,
            ProblemKind::Unauthorized
        );
    }

    #[test]
    fn without_a_token_only_this_machine_under_its_own_name_is_accepted() {
        let admin_token = AdminTokenHash::new(None);
        let admit = |pairs: &[(HeaderName, &str)], is_local| {
            admin_token.check(&Method::GET, &headers(pairs), is_local)
        };
        for host in ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "[::1]"] {
            let (here, there) = (admit(&[(HOST, host)], true), admit(&[(HOST, host)], false));
            assert!(here.is_ok(), "{host}");
            assert_eq!(there.unwrap_err().kind, ProblemKind::Forbidden, "{host}");
        }
        let with_token = admit(&[(HOST, "localhost:8080"), (AUTHORIZATION, "Bearer wrong")], true);
        assert_eq!(with_token.unwrap_err().kind, ProblemKind::Unauthorized);
        assert!(admit(&[(HOST, "evil.example:8080")], true).is_err());
        assert!(admit(&[(FORWARDED_FOR, "192.0.2.7")], true).is_err());
        assert!(admit(&[(HOST, "localhost:8080"), (ORIGIN, "http://evil.example")], true).is_err());
    }
}
