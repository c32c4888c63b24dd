//! Guest credentials: how one is generated, and how one is verified.
//!
//! A token exists here once, when it is generated; afterwards only its hash exists. It stores
//! nothing.

use std::fmt;
use std::str::FromStr;

use uuid::{Builder, Uuid};

use super::subject::{Subject, SubjectKind};
use crate::access::policy::built_in::GUEST_CLIENT_ID;
use crate::domain::time::Timestamp;
use crate::domain::token::{SecretToken, TokenHash};

/// The topics a guest may subscribe to; it may publish below `public/`.
pub const TOPICS: [&str; 1] = ["public/#"];

/// How long a credential is valid.
pub const LIFETIME_SECONDS: i64 = 3600;

/// The prefix of a guest's identity, which no device and no user has.
const IDENTITY_PREFIX: &str = "guest-";

/// Random bytes of an identity: the size of a UUID.
const ID_BYTES: usize = 16;

/// The longest client id of a guest, in bytes.
const CLIENT_ID_MAX: usize = 128;

/// The identity of a guest, which is its user name: `guest-` and 32 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GuestId(Uuid);

/// The stored part of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// The hash of the token.
    pub token: TokenHash,
    /// The time from which the credential is invalid.
    pub expires_at: Timestamp,
}

/// Why a guest is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuestRefusal {
    /// The user name is not a guest's.
    #[error(
        "the user name is not a guest's: use the one from POST /public/credentials, which begins with guest-"
    )]
    NoGuest,
    /// The client id does not have the form of a guest's.
    #[error(
        "the client id of a guest must begin with public-, contain no /, and have at most 128 bytes"
    )]
    ClientId,
    /// The credential was never issued, or was purged after its end.
    #[error(
        "the guest credential was not found or has expired: get a new one with POST /public/credentials"
    )]
    Unknown,
    /// The token belongs to another identity.
    #[error("the token does not belong to this guest credential")]
    WrongToken,
    /// The credential has expired.
    #[error("the guest credential has expired: get a new one with POST /public/credentials")]
    Expired,
    /// Postgres did not answer the lookup.
    #[error("looking up the guest credential failed: {0}")]
    Unavailable(String),
}

/// Generates an identity and its token. `None` means the system returned no random bytes.
pub fn make() -> Option<(GuestId, SecretToken)> {
    let mut id = [0; ID_BYTES];
    getrandom::fill(&mut id).ok()?;
    let token = SecretToken::generate().ok()?;
    Some((GuestId(Builder::from_random_bytes(id).into_uuid()), token))
}

// === impl GuestId ===

impl GuestId {
    /// The key of its row.
    pub const fn uuid(self) -> Uuid {
        self.0
    }

    /// The prefix of a client id that no other guest uses.
    pub fn client_id_prefix(self) -> String {
        let digits = self.0.simple().to_string();
        format!("{GUEST_CLIENT_ID}{}-", &digits[..8])
    }
}

impl fmt::Display for GuestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{IDENTITY_PREFIX}{}", self.0.simple())
    }
}

impl FromStr for GuestId {
    type Err = GuestRefusal;

    /// Accepts only the displayed spelling.
    fn from_str(text: &str) -> Result<Self, GuestRefusal> {
        let digits = text.strip_prefix(IDENTITY_PREFIX).ok_or(GuestRefusal::NoGuest)?;
        let id = Uuid::try_parse(digits).map(Self).map_err(|_| GuestRefusal::NoGuest)?;
        if id.to_string() == text { Ok(id) } else { Err(GuestRefusal::NoGuest) }
    }
}

// === impl Pass ===

impl Pass {
    /// Accepts the bearer of `token` while the credential is valid.
    pub fn admit(&self, id: GuestId, token: &str, now: Timestamp) -> Result<Subject, GuestRefusal> {
        if !self.token.matches(token) {
            return Err(GuestRefusal::WrongToken);
        }
        if now >= self.expires_at {
            return Err(GuestRefusal::Expired);
        }
        Ok(Subject {
            kind: SubjectKind::Guest,
            id: id.to_string().into(),
            groups: Vec::new(),
            scopes: Vec::new(),
            expires_at: Some(self.expires_at),
        })
    }
}

/// Checks the client id of a guest. A `/` would let it take over the session of a device, whose
/// client id on the listener for certificates is `<tenant>/device/<device>`.
pub fn check_client_id(client_id: &str) -> Result<(), GuestRefusal> {
    let is_fine = client_id.starts_with(GUEST_CLIENT_ID)
        && !client_id.contains('/')
        && client_id.len() <= CLIENT_ID_MAX;
    if is_fine { Ok(()) } else { Err(GuestRefusal::ClientId) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::default().plus_seconds(seconds)
    }

    #[test]
    fn a_guest_is_let_in_by_its_token_until_the_credential_ends() {
        let (id, token) = make().unwrap();
        let pass = Pass { token: token.hash(), expires_at: at(3600) };
        let text = token.into_text();
        assert_eq!(text.len(), 64);
        let subject = pass.admit(id, &text, at(3599)).unwrap();
        assert_eq!((subject.kind, subject.expires_at), (SubjectKind::Guest, Some(at(3600))));
        assert_eq!(*subject.id, *id.to_string());
        assert_eq!(pass.admit(id, &text, at(3600)), Err(GuestRefusal::Expired));
        for wrong in ["", &text[1..], &text.to_uppercase(), &format!("{text} ")] {
            assert_eq!(pass.admit(id, wrong, at(0)), Err(GuestRefusal::WrongToken), "{wrong}");
        }
    }

    #[test]
    fn an_identity_has_one_spelling_and_is_never_a_devices() {
        let (id, _) = make().unwrap();
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        assert!(
            id.client_id_prefix().starts_with("public-")
                && check_client_id(&id.client_id_prefix()).is_ok()
        );
        let hyphened = format!("guest-{}", id.uuid());
        for other in [
            "",
            "guest-",
            "acme/device/pump-1",
            &text[6..],
            &text.to_uppercase(),
            &hyphened,
            "guest-zz",
        ] {
            assert_eq!(other.parse::<GuestId>(), Err(GuestRefusal::NoGuest), "{other}");
        }
    }

    #[test]
    fn only_a_client_id_of_guests_is_fine() {
        for fine in ["public-", "public-a", "public-3f-x"] {
            assert_eq!(check_client_id(fine), Ok(()), "{fine}");
        }
        let long = format!("public-{}", "x".repeat(CLIENT_ID_MAX));
        for other in ["", "public", "Public-a", " public-a", "sluice", "public-a/device/b", &long] {
            assert_eq!(check_client_id(other), Err(GuestRefusal::ClientId), "{other}");
        }
    }

    #[test]
    fn neither_a_token_nor_its_hash_is_printed() {
        let (_, token) = make().unwrap();
        let pass = Pass { token: token.hash(), expires_at: at(1) };
        assert_eq!(format!("{token:?}"), "SecretToken(..)");
        assert!(format!("{pass:?}").contains("TokenHash(..)"));
    }
}
