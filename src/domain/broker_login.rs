//! A login at the broker that others must be able to remember: by which names it goes, and what was proved of it.
//!
//! It holds neither the token nor the password that proved it.

use super::time::Timestamp;

/// The longest user name and the longest client id of a login that is remembered, in bytes: the two are the key of a row,
/// and Postgres keeps no more than 2,700 bytes in one.
pub const NAME_MAX_BYTES: usize = 1024;

/// The most bytes of groups and scopes of one login; a few hundred of them fit.
pub const CLAIMS_MAX_BYTES: usize = 8 * 1024;

/// One login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerLogin {
    /// The user name the client gave.
    pub username: Box<str>,
    /// The client id it gave.
    pub client_id: Box<str>,
    /// What kind of somebody it is, as policies write it.
    pub kind: Box<str>,
    /// By what name it is known.
    pub subject: Box<str>,
    /// Its groups.
    pub groups: Vec<Box<str>>,
    /// Its scopes.
    pub scopes: Vec<Box<str>>,
    /// When it logged in.
    pub at: Timestamp,
    /// When what was proved ends.
    pub expires_at: Timestamp,
    /// Which key of which issuer proved it, as hashes; none for a guest.
    pub proved_by: Option<[u8; 32]>,
}

/// Why a login cannot be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// Nothing to know it by.
    #[error("a user name or a client id that is longer than {NAME_MAX_BYTES} bytes cannot be remembered")]
    LongName,
    /// Postgres holds no such text.
    #[error("a user name, a client id or a claim holds the character NUL")]
    Nul,
    /// More than fits.
    #[error("the groups and scopes of the token have more than {CLAIMS_MAX_BYTES} bytes: have the issuer put in fewer")]
    ManyClaims,
}

// === impl Login ===

impl BrokerLogin {
    /// Whether it can be remembered.
    pub fn check(&self) -> Result<(), LoginError> {
        if self.username.len() > NAME_MAX_BYTES || self.client_id.len() > NAME_MAX_BYTES {
            return Err(LoginError::LongName);
        }
        let claims = || self.groups.iter().chain(&self.scopes).chain([&self.subject]);
        if claims().map(|claim| claim.len()).sum::<usize>() > CLAIMS_MAX_BYTES {
            return Err(LoginError::ManyClaims);
        }
        let holds_nul = claims().chain([&self.username, &self.client_id]).any(|text| text.contains('\0'));
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
    fn what_a_row_cannot_hold_is_no_login() {
        assert_eq!(login("alice", "viewers").check(), Ok(()));
        assert_eq!(login(&"a".repeat(NAME_MAX_BYTES + 1), "viewers").check(), Err(LoginError::LongName));
        assert_eq!(login("alice", &"g".repeat(CLAIMS_MAX_BYTES)).check(), Err(LoginError::ManyClaims));
        assert_eq!(login("ali\0ce", "viewers").check(), Err(LoginError::Nul));
        assert_eq!(login("alice", "view\0ers").check(), Err(LoginError::Nul));
    }
}
