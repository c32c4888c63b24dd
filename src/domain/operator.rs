//! People who use the console and the API by their own name: the name, the token, and how a session
//! began.
//!
//! It stores nothing and decides nothing about a request.

use std::fmt;
use std::str::FromStr;

use super::caller::CallerRole;
use super::ids::TenantId;
use super::token::{NoRandomBytes, SecretToken, TokenHash};

/// How a token of an operator begins, so that people and secret scanners recognize one.
const TOKEN_PREFIX: &str = "sluice_op_";

/// The name of a session that `ADMIN_TOKEN` opened.
pub const ADMIN_NAME: &str = "admin";

/// The longest name of an operator, in bytes.
pub const MAX_OPERATOR_NAME: usize = 64;

/// The name of an operator: 1 to 64 characters of `A-Z a-z 0-9 . _ @ -`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OperatorName(String);

/// The text is no name of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected 1 to 64 characters of A-Z a-z 0-9 . _ @ - that begin with a letter or a digit, and not the name admin, \
     which ADMIN_TOKEN has"
)]
pub struct NoOperatorName;

/// A person: a name, a role, and the only tenant that the person may read and change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The name, as the audit log shows it.
    pub name: String,
    /// What the person may do.
    pub role: CallerRole,
    /// The only tenant that the person may read and change; `None`: all tenants.
    pub tenant: Option<TenantId>,
}

/// How a session began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignInMethod {
    /// By `ADMIN_TOKEN`.
    AdminToken,
    /// By the token of an operator.
    Operator,
    /// By a one-time link of `sluice console`.
    Link,
    /// By an identity provider (`OpenID` Connect).
    Oidc,
}

/// Makes a token of an operator: its text, which is shown once, and its hash.
pub fn make_operator_token() -> Result<(String, TokenHash), NoRandomBytes> {
    let text = format!("{TOKEN_PREFIX}{}", SecretToken::generate()?.into_text());
    let hash = TokenHash::of(&text);
    Ok((text, hash))
}

/// Whether a text has the form of an operator's token: only such a text is searched.
pub fn is_operator_token(text: &[u8]) -> bool {
    text.strip_prefix(TOKEN_PREFIX.as_bytes())
        .is_some_and(|digits| digits.len() == 64 && digits.iter().all(u8::is_ascii_hexdigit))
}

// === impl OperatorName ===

impl OperatorName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for OperatorName {
    type Err = NoOperatorName;

    fn from_str(text: &str) -> Result<Self, NoOperatorName> {
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
        let is_name = text.len() <= MAX_OPERATOR_NAME
            && text.bytes().all(is_fine)
            && text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
            && text != ADMIN_NAME;
        is_name.then(|| Self(text.to_owned())).ok_or(NoOperatorName)
    }
}

impl fmt::Display for OperatorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl SignInMethod ===

impl SignInMethod {
    /// Its name, as the table stores it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::AdminToken => "admin-token",
            Self::Operator => "operator",
            Self::Link => "link",
            Self::Oidc => "oidc",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_letters_and_few_signs_and_is_not_admin() {
        for name in ["alice", "a", "alice@example.org", "Ops-7", "9.b_c", &"x".repeat(64)] {
            assert_eq!(name.parse::<OperatorName>().unwrap().as_str(), name);
        }
        for name in ["", "admin", ".a", "-a", "a b", "a/b", "ä", "a\n", &"x".repeat(65)] {
            assert_eq!(name.parse::<OperatorName>(), Err(NoOperatorName), "{name:?}");
        }
    }

    #[test]
    fn a_made_token_has_the_form_of_one_and_others_have_not() {
        let (text, hash) = make_operator_token().unwrap();
        assert!(is_operator_token(text.as_bytes()) && hash.matches(&text));
        for wrong in ["", "sluice_op_", &text[1..], &text[..text.len() - 1], &format!("{text}0")] {
            assert!(!is_operator_token(wrong.as_bytes()), "{wrong}");
        }
        assert!(!is_operator_token(text.replace('_', "-").as_bytes()));
    }
}
