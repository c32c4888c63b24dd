//! Decides whether the sender of a message is accepted, given its publisher and the registry's answer.
//!
//! Pure: the same message, publisher, answer and time always give the same verdict. `explain` uses it
//! too. It verifies no proof: [`crate::ingest::publisher`] does.

use std::sync::Arc;

use uuid::Uuid;

use crate::config::sections::ingest::IngestConfig;
use crate::config::sections::plugin::PublisherProof;
use crate::domain::device::{Device, RegistryAnswer};
use crate::domain::ids::DeviceKey;
use crate::domain::publisher::{ProvenPublisher, Publisher};
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::time::Timestamp;
use crate::domain::token::TokenHash;
use crate::ingest::parse::parsed::{Parsed, TokenField};

/// How a sender is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// The broker's plugin proves who published the message, and with which certificate.
    Proof(Option<Uuid>),
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
#[derive(Clone, Debug)]
pub struct AuthRequirements {
    certificates: bool,
    pub(super) token: bool,
    publisher: PublisherProof,
    gateways: Arc<[Box<str>]>,
}

/// Who published a message.
#[derive(Clone, Copy, Debug)]
pub struct PublishedBy<'a> {
    /// As far as it is proven.
    pub publisher: &'a Publisher,
    /// The registry's answer for a publisher that is a gateway ([`AuthRequirements::gateway`]).
    pub gateway: Option<&'a RegistryAnswer>,
}

// === impl Authentication ===

impl Authentication {
    /// The certificate that the publisher is proven to have logged in with.
    pub const fn certificate(self) -> Option<Uuid> {
        match self {
            Self::Proof(certificate) => certificate,
            Self::Certificate | Self::Token(_) | Self::Link | Self::NotRequired => None,
        }
    }
}

// === impl AuthRequirements ===

impl From<&IngestConfig> for AuthRequirements {
    fn from(config: &IngestConfig) -> Self {
        Self {
            certificates: config.cert_auth_enabled,
            token: config.require_token,
            publisher: config.proofs.mode,
            gateways: Arc::clone(&config.proofs.gateways),
        }
    }
}

impl AuthRequirements {
    /// Checks a well-formed message, in the order of [`Reason::ALL`].
    pub fn judge(
        &self,
        parsed: &Parsed,
        sender: PublishedBy<'_>,
        answer: &RegistryAnswer,
        now: Timestamp,
    ) -> Result<Authentication, Refusal> {
        if parsed.is_from_link {
            check_site(parsed, answer.active()?)?;
            return Ok(Authentication::Link);
        }
        let (device, proven) = self.identify(sender, parsed.identity(), answer)?;
        check_site(parsed, device)?;
        match proven {
            Some(proven) => Ok(proven),
            None => self.authenticate(&parsed.token, device, now),
        }
    }

    /// The ACTIVE device with this identity, and how a proof authenticates it; without a proof it is not
    /// authenticated yet.
    pub fn identify<'a>(
        &self,
        sender: PublishedBy<'_>,
        identity: &str,
        answer: &'a RegistryAnswer,
    ) -> Result<(&'a Device, Option<Authentication>), Refusal> {
        let proven = self.proven(sender.publisher, identity)?;
        let device = answer.active()?;
        let Some(proven) = proven else { return Ok((device, None)) };
        let is_own = proven.identity() == identity;
        let holder = if is_own { Some(device) } else { gateway_device(proven, sender.gateway)? };
        Ok((device, Some(Authentication::Proof(certificate(proven, holder)?))))
    }

    /// The device that published a message of another device, as one of `PUBLISHER_GATEWAYS`: the
    /// registry must be asked for it, too.
    pub fn gateway(&self, publisher: &Publisher, identity: &str) -> Option<DeviceKey> {
        let proven = publisher.proven().filter(|proven| proven.identity() != identity)?;
        if self.is_gateway(proven) { proven.identity().parse().ok() } else { None }
    }

    /// Checks the token or the certificate of an ACTIVE device whose publisher is not proven.
    pub fn authenticate(
        &self,
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

    /// The proven publisher, if it may publish for this identity; `None`: nothing is proven, and nothing
    /// needs to be.
    fn proven<'a>(
        &self,
        publisher: &'a Publisher,
        identity: &str,
    ) -> Result<Option<&'a ProvenPublisher>, Refusal> {
        let is_required = match self.publisher {
            PublisherProof::Off => return Ok(None),
            PublisherProof::Prefer => false,
            PublisherProof::Require => true,
        };
        match publisher {
            Publisher::Proven(proven)
                if proven.identity() == identity || self.is_gateway(proven) =>
            {
                Ok(Some(proven))
            }
            Publisher::Proven(proven) => Err(mismatch(proven)),
            Publisher::Invalid(_) | Publisher::Missing | Publisher::Unread(_) if !is_required => {
                Ok(None)
            }
            Publisher::Invalid(fault) => {
                let detail = format!("the publisher is not proven: {fault}");
                Err(Refusal::new(Reason::PublisherUnproven, detail))
            }
            Publisher::Missing | Publisher::Unread(_) => Err(Refusal::new(
                Reason::PublisherUnproven,
                "the message has no proof of its publisher: it did not pass the broker's plugin",
            )),
        }
    }

    fn is_gateway(&self, proven: &ProvenPublisher) -> bool {
        self.gateways.iter().any(|gateway| **gateway == *proven.identity())
    }
}

// === private helpers ===

/// The device of a gateway; `None`: the gateway is no device.
fn gateway_device<'a>(
    proven: &ProvenPublisher,
    answer: Option<&'a RegistryAnswer>,
) -> Result<Option<&'a Device>, Refusal> {
    if proven.identity().parse::<DeviceKey>().is_err() {
        return Ok(None);
    }
    let unknown = || Refusal::new(Reason::UnregisteredDevice, "it is not in the registry");
    let active = answer.ok_or_else(unknown).and_then(RegistryAnswer::active);
    active.map(Some).map_err(|refusal| {
        let name = proven.identity();
        let detail = format!("{name} published the message as a gateway: {}", refusal.detail);
        Refusal::new(refusal.reason, detail)
    })
}

/// The certificate that the publisher logged in with, which must be one of `holder`. It must have been
/// valid when the broker received the message; a certificate that has been revoked since is in no answer.
fn certificate(proven: &ProvenPublisher, holder: Option<&Device>) -> Result<Option<Uuid>, Refusal> {
    let Some(fingerprint) = proven.fingerprint else { return Ok(None) };
    let found = holder.and_then(|device| device.certificate_at(fingerprint, proven.at));
    found.map(Some).ok_or_else(|| {
        Refusal::new(
            Reason::DeviceRevoked,
            "the certificate of the publisher is not valid: it is revoked or expired, or not in the registry",
        )
    })
}

fn mismatch(proven: &ProvenPublisher) -> Refusal {
    let detail = format!(
        "published by {}, which is not the topic's device and not in PUBLISHER_GATEWAYS",
        proven.identity()
    );
    Refusal::new(Reason::PublisherMismatch, detail)
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
