//! Decides whether the sender of a message is accepted, given the registry's answer.
//!
//! Pure: the same message, answer and time always give the same verdict. `explain` uses it too.

use crate::config::sections::ingest::IngestConfig;
use crate::domain::device::{Device, RegistryAnswer};
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::time::Timestamp;
use crate::domain::token::TokenHash;
use crate::ingest::parse::parsed::{Parsed, TokenField};

/// How a sender is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// It has a valid certificate; the broker allows no other client to publish to its topics.
    Certificate,
    /// The message carries its provisioning token.
    Token(TokenHash),
    /// A link delivered it. The link is authenticated by its own login, and its rule names the device.
    Link,
    /// No proof is required: `CERT_AUTH_ENABLED=0` and `REQUIRE_TOKEN=0`.
    NotRequired,
}

/// Which proof is required.
#[derive(Clone, Copy, Debug)]
pub struct AuthRequirements {
    certificates: bool,
    pub(super) token: bool,
}

// === impl AuthRequirements ===

impl From<&IngestConfig> for AuthRequirements {
    fn from(config: &IngestConfig) -> Self {
        Self { certificates: config.cert_auth_enabled, token: config.require_token }
    }
}

impl AuthRequirements {
    /// Checks a well-formed message, in the order of [`Reason::ALL`].
    pub fn judge(
        self,
        parsed: &Parsed,
        answer: &RegistryAnswer,
        now: Timestamp,
    ) -> Result<Authentication, Refusal> {
        let device = answer.active()?;
        check_site(parsed, device)?;
        if parsed.is_from_link {
            return Ok(Authentication::Link);
        }
        self.authenticate(&parsed.token, device, now)
    }

    /// Checks the proof of an ACTIVE device.
    pub fn authenticate(
        self,
        token: &TokenField,
        device: &Device,
        now: Timestamp,
    ) -> Result<Authentication, Refusal> {
        if self.certificates && device.holds_certificate_at(now) {
            return Ok(Authentication::Certificate);
        }
        if !self.token {
            return if self.certificates {
                Err(no_certificate())
            } else {
                Ok(Authentication::NotRequired)
            };
        }
        let expected = device.token.as_ref().ok_or_else(|| {
            Refusal::new(
                Reason::TokenNotSet,
                "the registry has no token for the device; set one with `sluice device set-token`",
            )
        })?;
        let given = token.hash().ok_or_else(|| {
            Refusal::new(
                Reason::TokenMissing,
                "provision_token is missing, and the device has no valid certificate",
            )
        })?;
        if expected.equals(&given) {
            Ok(Authentication::Token(given))
        } else {
            Err(Refusal::new(
                Reason::TokenInvalid,
                "provision_token is not the token of the device",
            ))
        }
    }
}

fn check_site(parsed: &Parsed, device: &Device) -> Result<(), Refusal> {
    match (&device.site, &parsed.site) {
        (Some(registered), Some(named)) if registered.as_bytes() != named.as_ref() => {
            Err(Refusal::new(
                Reason::SiteMismatch,
                format!("site_id is not {registered}, the site in the registry"),
            ))
        }
        _ => Ok(()),
    }
}

/// Only certificates count, and none is valid: a revoked device must not pass because no other
/// check follows.
fn no_certificate() -> Refusal {
    let detail = "the device has no valid certificate, and with REQUIRE_TOKEN=0 nothing else proves its identity";
    Refusal::new(Reason::TokenMissing, detail)
}
