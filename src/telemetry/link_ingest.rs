//! Counts what comes in over links, by link and outcome.
//!
//! Names of links come from the links file, so the labels are bounded; a removed link takes its series
//! with it.

use prometheus::{IntCounterVec, Opts, Registry};

use crate::domain::link::{LinkName, LinkOutcome};

/// Updated by ingest after the commit.
#[derive(Clone, Debug)]
pub struct LinkIngestMetrics {
    ingested: IntCounterVec,
}

// === impl LinkIngestMetrics ===

impl LinkIngestMetrics {
    /// Creates and registers it.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let ingested = IntCounterVec::new(
            Opts::new("sluice_link_ingested_total", "Messages received over a link, by outcome."),
            &["link", "outcome"],
        )?;
        registry.register(Box::new(ingested.clone()))?;
        Ok(Self { ingested })
    }

    /// Counts messages.
    pub fn count(&self, link: &LinkName, outcome: LinkOutcome, messages: u64) {
        self.ingested.with_label_values(&[link.as_str(), outcome.label()]).inc_by(messages);
    }

    /// Starts the series of a link at zero.
    pub fn start(&self, link: &LinkName) {
        for outcome in LinkOutcome::ALL {
            self.count(link, outcome, 0);
        }
    }

    /// Removes the series of a link.
    pub fn remove(&self, link: &LinkName) {
        for outcome in LinkOutcome::ALL {
            // A series that does not exist is removed already.
            let _ = self.ingested.remove_label_values(&[link.as_str(), outcome.label()]);
        }
    }
}
