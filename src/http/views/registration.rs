//! The view of what the registration of a device would do to its refused messages. It contains no
//! token and no hash.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::quarantine::registration::{ProofForecast, RegistrationPreview};

/// What the registration of a device would do to its refused messages.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RegistrationPreview")]
pub(crate) struct RegistrationPreviewView {
    /// Whether the device is registered already.
    pub(crate) is_registered: bool,
    /// The messages that were judged: those that were not replayed, at most 500, the oldest.
    pub(crate) messages: u64,
    /// Whether there are more of them.
    pub(crate) more: bool,
    /// How many of all kept messages of the device carry a token.
    pub(crate) with_token: u64,
    /// The site, if all messages that name one name this one.
    pub(crate) site_id: Option<String>,
    /// A message whose token the new device can take over (`token_of_event`); null: none.
    pub(crate) token_of_event: Option<Uuid>,
    /// Why no token can be taken over; null: one can.
    pub(crate) token_refusal: Option<String>,
    /// What a replay would do, by what the device gets to authenticate itself.
    pub(crate) forecasts: Vec<RegistrationForecastView>,
}

/// What a replay would do, if the device had this proof of its identity.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RegistrationForecast")]
pub(crate) struct RegistrationForecastView {
    /// `new_token` (or none), `their_token`, `certificate`; or `registered`: what the device has.
    pub(crate) proof: String,
    /// The messages that would be stored.
    pub(crate) stored: u64,
    /// Why the first of the others would be refused again; null: none would be.
    pub(crate) reason: Option<String>,
}

// === impl RegistrationPreviewView ===

impl RegistrationPreviewView {
    /// The forecast for a proof.
    pub(crate) fn forecast(&self, proof: &str) -> Option<&RegistrationForecastView> {
        self.forecasts.iter().find(|forecast| forecast.proof == proof)
    }
}

impl From<RegistrationPreview> for RegistrationPreviewView {
    fn from(preview: RegistrationPreview) -> Self {
        Self {
            is_registered: preview.is_registered,
            messages: preview.messages,
            more: preview.more,
            with_token: preview.with_token,
            site_id: preview.site,
            token_of_event: preview.token.ok(),
            token_refusal: preview.token.err().map(|why| why.to_string()),
            forecasts: preview.forecasts.iter().map(RegistrationForecastView::from).collect(),
        }
    }
}

impl From<&ProofForecast> for RegistrationForecastView {
    fn from(forecast: &ProofForecast) -> Self {
        Self {
            proof: forecast.proof.label().to_owned(),
            stored: forecast.stored,
            reason: forecast.refused.map(|reason| reason.label().to_owned()),
        }
    }
}
