//! What a lane counts: connects, refusals, and the ends of its login.
//!
//! It changes nothing else.

use super::lane::Lane;
use crate::broker::error::BrokerError;
use crate::domain::time::Timestamp;
use crate::link::explain::errors::code_of;

// === impl Lane ===

impl Lane {
    pub(super) fn show_expiries(&self) {
        let (metrics, login) = (&self.context.metrics, &self.context.login);
        let link = self.context.settings.name.as_str();
        let seconds =
            |at: Option<Timestamp>| at.map_or(0.0, |at| at.seconds_since(Timestamp::default()));
        let token = seconds(login.token_expires(&self.context.settings));
        metrics.token_expires.with_label_values(&[link]).set(token);
        let credentials = seconds(login.credentials_expire());
        metrics.credentials_expire.with_label_values(&[link]).set(credentials);
    }

    pub(super) fn count_connect(&self, outcome: &str) {
        let link = self.context.settings.name.as_str();
        self.context.metrics.connects.with_label_values(&[link, outcome]).inc();
    }

    pub(super) fn count_refusal(&self, error: &BrokerError) {
        let link = self.context.settings.name.as_str();
        let (packet, code) = match (code_of(error), error) {
            (Some((packet, code)), _) => (packet.label(), format!("0x{code:02X}")),
            (None, BrokerError::Upgrade { status, .. }) => ("HTTP", shown_status(*status)),
            _ => return,
        };
        self.context.metrics.refusals.with_label_values(&[link, packet, &code]).inc();
    }
}

/// The usual statuses of HTTP; a label must not have more values.
fn shown_status(status: u16) -> String {
    match status {
        400 | 401 | 403 | 404 | 426 | 429 | 500 | 502 | 503 => status.to_string(),
        _ => "other".to_owned(),
    }
}
