//! The log lines of a lane about single topics, single messages and the ends of connections: the first
//! ones of an hour are written, the rest at debug.
//!
//! It decides nothing.

use tokio::time::Instant;

use super::lane::Lane;
use super::line_budget::{LineFate, warn_within};

// === impl Lane ===

impl Lane {
    /// Warns of a refused topic or message.
    pub(super) fn warn_of_refusal(&mut self, text: &str) {
        let link = &self.context.settings.name;
        warn_within(&mut self.lines.refusals, link, text, "the other broker refuses messages");
    }

    /// Warns of what a connection grants or lacks.
    pub(super) fn warn_of_connection(&mut self, text: &str) {
        let link = &self.context.settings.name;
        warn_within(&mut self.lines.connections, link, text, "a connection begins with a fault");
    }

    /// Warns of a rate that was halved.
    pub(super) fn warn_of_rate(&mut self, text: &str) {
        let link = &self.context.settings.name;
        warn_within(&mut self.lines.rates, link, text, "the other broker limits the rate");
    }

    /// Logs that a topic is accepted again.
    pub(super) fn note_release(&mut self, topic: &str) {
        let link = &self.context.settings.name;
        let text =
            "the other broker accepts the topic again; Sluice sends the messages that waited";
        match self.lines.releases.next(Instant::now()) {
            LineFate::Written(suppressed) => tracing::info!(%link, topic, suppressed, "{text}"),
            LineFate::FirstLeftOut | LineFate::LeftOut => tracing::debug!(%link, topic, "{text}"),
        }
    }
}
