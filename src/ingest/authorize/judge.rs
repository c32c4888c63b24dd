//! The second judgement of a message: may its sender be believed, given what the registry says?
//!
//! Pure: the same message, standing and moment always give the same verdict. `explain` asks here too.

use subtle::ConstantTimeEq;

use crate::config::sections::ingest::IngestConfig;
use crate::domain::device::{Device, RegistryAnswer, TokenHash};
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::time::Timestamp;
use crate::ingest::parse::Parsed;

/// How a sender proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// It holds a certificate that is good now; the broker let nobody else publish on its topics.
    Certificate,
    /// It knows its provisioning token.
    Token(TokenHash),
    /// None is asked for: `CERT_AUTH_ENABLED=0` and `REQUIRE_TOKEN=0`.
    NotRequired,
}

/// What counts as proof.
#[derive(Clone, Copy, Debug)]
pub struct AuthRequirements {
    certificates: bool,
    token: bool,
}

// === impl Demands ===

impl From<&IngestConfig> for AuthRequirements {
    fn from(config: &IngestConfig) -> Self {
        Self { certificates: config.cert_auth_enabled, token: config.require_token }
    }
}

impl AuthRequirements {
    /// Judges a well-formed message. The order of the checks is the order of [`Reason::ALL`].
    pub fn judge(self, parsed: &Parsed, standing: &RegistryAnswer, now: Timestamp) -> Result<Authentication, Refusal> {
        let device = standing.active()?;
        check_site(parsed, device)?;
        self.authenticate(parsed, device, now)
    }

    fn authenticate(self, parsed: &Parsed, device: &Device, now: Timestamp) -> Result<Authentication, Refusal> {
        if self.certificates && device.holds_certificate_at(now) {
            return Ok(Authentication::Certificate);
        }
        if !self.token {
            return if self.certificates { Err(no_certificate()) } else { Ok(Authentication::NotRequired) };
        }
        let expected = device.token.as_ref().ok_or_else(|| {
            Refusal::new(Reason::TokenNotSet, "the registry holds no token for the device: sluice device set-token")
        })?;
        let given = parsed.token.hash().ok_or_else(|| {
            Refusal::new(
                Reason::TokenMissing,
                "provision_token is missing and no certificate of the device is good now",
            )
        })?;
        if bool::from(given.0.ct_eq(&expected.0)) {
            Ok(Authentication::Token(given))
        } else {
            Err(Refusal::new(Reason::TokenInvalid, "provision_token is not the device's"))
        }
    }
}

fn check_site(parsed: &Parsed, device: &Device) -> Result<(), Refusal> {
    match (&device.site, &parsed.site) {
        (Some(registered), Some(named)) if registered.as_bytes() != named.as_ref() => {
            Err(Refusal::new(Reason::SiteMismatch, format!("site_id is not {registered}, the registry's")))
        }
        _ => Ok(()),
    }
}

/// Certificates alone count, and none is good: a revoked device must not pass for lack of a further check.
fn no_certificate() -> Refusal {
    let detail = "no certificate of the device is good now, and REQUIRE_TOKEN=0 leaves no other proof";
    Refusal::new(Reason::TokenMissing, detail)
}
