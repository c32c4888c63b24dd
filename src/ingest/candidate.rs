//! One message on its way through the spine, with what each step has found out about it.

use std::sync::Arc;

use super::authorize::judge::PublishedBy;
use super::grants::Grant;
use super::parse::parsed::{ParseOutcome, Parsed};
use crate::domain::message::Delivery;

/// A message that is not yet decided.
#[derive(Debug)]
pub struct Candidate {
    /// As the broker delivered it.
    pub delivery: Delivery,
    /// What its bytes say.
    pub outcome: ParseOutcome,
    /// What the registry says of its sender; `None` before the query, and for a message that needs
    /// none.
    pub grant: Option<Arc<Grant>>,
    /// The same of its publisher, if that is a gateway.
    pub gateway: Option<Arc<Grant>>,
}

// === impl Candidate ===

impl Candidate {
    /// Who published it.
    pub fn sender(&self) -> PublishedBy<'_> {
        PublishedBy {
            publisher: &self.delivery.publisher,
            gateway: self.gateway.as_ref().map(|grant| &grant.answer),
        }
    }

    /// Its fields; `None` if it is ignored, or refused already.
    pub const fn parsed(&self) -> Option<&Parsed> {
        match &self.outcome {
            ParseOutcome::Parsed(parsed) => Some(parsed),
            ParseOutcome::Ignored | ParseOutcome::Refused(..) => None,
        }
    }
}
