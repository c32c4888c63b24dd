//! The refused messages of a device that is about to be registered: what a replay would store for
//! each way in which the device may authenticate itself, and who may have sent them.
//!
//! The API judges and counts; this part of the form only says it.

use serde::Deserialize;

use crate::console::device_address::DeviceAddress;
use crate::console::filters::{shortened, thousands};
use crate::console::frame::counted;
use crate::console::query::PageQuery;
use crate::http::views::registration::RegistrationPreviewView;
use crate::http::{CertificateView, PageApi, PageOf, SignedIn};

/// Certificates that name the device, as many as the form lists.
const CERTIFICATES: u32 = 5;

/// Characters of a fingerprint that are shown.
const FINGERPRINT_CHARS: usize = 12;

/// By what a new device authenticates itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum DeviceProof {
    /// A token that is made now.
    #[default]
    Token,
    /// The token of its refused messages.
    Theirs,
    /// A certificate with a new key.
    Certificate,
    /// Nothing yet.
    None,
}

/// The refused messages.
#[derive(Clone, Debug)]
pub(super) struct SenderMessages {
    pub address: DeviceAddress,
    pub preview: RegistrationPreviewView,
    /// Certificates in the name of the device.
    pub certificates: Vec<CertificateView>,
}

// === impl DeviceProof ===

impl DeviceProof {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Theirs => "theirs",
            Self::Certificate => "certificate",
            Self::None => "none",
        }
    }
}

// === impl SenderMessages ===

impl SenderMessages {
    /// The messages of a device; `None`: there are none, or they cannot be read.
    pub(super) async fn read(
        api: &PageApi,
        person: &SignedIn,
        address: DeviceAddress,
    ) -> Option<Self> {
        let target = format!("{}/registration", address.api());
        let held = format!("/api/v1/certificates?{}&limit={CERTIFICATES}", address.filter());
        let (preview, certificates) = tokio::join!(
            api.get::<RegistrationPreviewView>(person, &target),
            api.get::<PageOf<CertificateView>>(person, &held),
        );
        let preview = preview.ok().filter(|preview| preview.messages > 0)?;
        let certificates = certificates.map(|page| page.items).unwrap_or_default();
        Some(Self { address, preview, certificates })
    }

    /// "12 refused messages", "more than 500 refused messages".
    pub(super) fn count(&self) -> String {
        let text = counted(self.preview.messages, "refused message", "refused messages");
        if self.preview.more { format!("more than {text}") } else { text }
    }

    /// The certificates: address, beginning of the fingerprint, status.
    pub(super) fn named_by(&self) -> Vec<(String, String, String)> {
        let link = |certificate: &CertificateView| {
            let name = shortened(&certificate.fingerprint_sha256, FINGERPRINT_CHARS).into_owned();
            let href = format!("/console/certificates/{}", certificate.id);
            (href, name, certificate.status.to_string())
        };
        self.certificates.iter().map(link).collect()
    }

    pub(super) fn messages_href(&self) -> String {
        PageQuery::from([("search", self.address.search().as_str())]).href("/console/quarantine")
    }

    /// "a replay would store 12 of 12", for a proof; empty: it is not offered.
    pub(super) fn stored(&self, proof: &str) -> String {
        let Some(forecast) = self.preview.forecast(proof) else { return String::new() };
        let number = |number: u64| thousands(i128::from(number));
        let (stored, of) = (number(forecast.stored), number(self.preview.messages));
        let which = if self.preview.more { " of the oldest" } else { "" };
        let text = format!("a replay would store {stored} of {of}{which}");
        match &forecast.reason {
            Some(reason) => format!("{text}; refused again: {reason}"),
            None => text,
        }
    }

    /// Whether the API knows it already.
    pub(super) fn is_registered(&self) -> bool {
        self.preview.is_registered
    }

    /// The message whose token would be taken over.
    pub(super) fn token_of_event(&self) -> String {
        self.preview.token_of_event.map(|event| event.to_string()).unwrap_or_default()
    }
}
