//! A login at the broker that all replicas must know: its names, and what was proved about the
//! client.
//!
//! It contains neither the token nor the password that proved it.

use super::time::Timestamp;

/// Most bytes of a user name or client id that is stored. Both form the key of a row, and a
/// Postgres index entry holds at most 2,700 bytes.
pub const NAME_MAX_BYTES: usize = 1024;

/// Most bytes of groups and scopes of one login: a few hundred of them.
pub const CLAIMS_MAX_BYTES: usize = 8 * 1024;

/// One login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerLogin {
    /// The user name in CONNECT.
    pub username: Box<str>,
    /// The client id in CONNECT.
    pub client_id: Box<str>,
    /// Kind of the subject, as in policies.
    pub kind: Box<str>,
    /// The subject.
    pub subject: Box<str>,
    /// Its groups.
    pub groups: Vec<Box<str>>,
    /// Its scopes.
    pub scopes: Vec<Box<str>>,
    /// When it logged in.
    pub at: Timestamp,
    /// When the proof expires.
    pub expires_at: Timestamp,
    /// Hash of issuer and key of its token; `None` for a guest.
    pub proved_by: Option<[u8; 32]>,
}

/// Why a login cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// Its key is too long.
    #[error("the user name or the client id is longer than {NAME_MAX_BYTES} bytes")]
    LongName,
    /// Postgres cannot store this text.
    #[error("the user name, the client id or a claim contains the character NUL")]
    Nul,
    /// The claims are too large.
    #[error(
        "the groups and scopes of the token are longer than {CLAIMS_MAX_BYTES} bytes; configure its issuer to send fewer"
    )]
    ManyClaims,
}

// === impl BrokerLogin ===

impl BrokerLogin {
    /// Checks that the login can be stored.
    pub fn check(&self) -> Result<(), LoginError> {
        if self.username.len() > NAME_MAX_BYTES || self.client_id.len() > NAME_MAX_BYTES {
            return Err(LoginError::LongName);
        }
        let claims = || self.groups.iter().chain(&self.scopes).chain([&self.subject]);
        if claims().map(|claim| claim.len()).sum::<usize>() > CLAIMS_MAX_BYTES {
            return Err(LoginError::ManyClaims);
        }
        let holds_nul =
            claims().chain([&self.username, &self.client_id]).any(|text| text.contains('\0'));
        if holds_nul { Err(LoginError::Nul) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(username: &str, group: &str) -> BrokerLogin {
        BrokerLogin {
            username: username.into(),
            client_id: "c".into(),
            kind: "user".into(),
            subject: "s".into(),
            groups: vec![group.into()],
            scopes: Vec::new(),
            at: Timestamp::default(),
            expires_at: Timestamp::default(),
            proved_by: None,
        }
    }

    #[test]
    fn a_login_that_a_row_cannot_store_is_refused() {
        assert_eq!(login("alice", "viewers").check(), Ok(()));
        assert_eq!(
            login(&"a".repeat(NAME_MAX_BYTES + 1), "viewers").check(),
            Err(LoginError::LongName)
        );
        assert_eq!(
            login("alice", &"g".repeat(CLAIMS_MAX_BYTES)).check(),
            Err(LoginError::ManyClaims)
        );
        assert_eq!(login("ali\0ce", "viewers").check(), Err(LoginError::Nul));
        assert_eq!(login("alice", "view\0ers").check(), Err(LoginError::Nul));
    }
}
