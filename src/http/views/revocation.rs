//! Views of a revocation and its steps. They advance no step.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::view;
use crate::registry::revocation::progress::{RevocationSteps, StepState};

/// A revocation, step by step.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Revocation")]
pub struct RevocationView {
    /// The certificate.
    pub certificate_id: Uuid,
    /// Whether the last step is done: the broker refused a certificate of that CRL.
    pub proven: bool,
    /// The step that failed at its last attempt, or else the first step that is not done; null when
    /// all are done.
    pub missing: Option<Cow<'static, str>>,
    /// The cause of the failure, if it is known.
    pub failure: Option<String>,
    /// The number of the CRL that contains the certificate.
    pub crl_number: Option<i64>,
    /// The steps in their order.
    pub links: Vec<StepView>,
}

view! {
    /// One step of a revocation.
    StepView as "RevocationStep" of StepState {
        /// `revoked` (the row), `published` (in a CRL), `reloaded` (the broker was notified),
        /// `ended` (the live session has ended), or `proven` (the broker refused a certificate of
        /// that CRL).
        link: Cow<'static, str>,
        /// When the step was done; null until then.
        held_at: Option<DateTime<Utc>>,
        /// The seconds from the row to this step.
        seconds: Option<f64>,
    }
}

impl From<RevocationSteps> for RevocationView {
    fn from(steps: RevocationSteps) -> Self {
        let RevocationSteps { certificate_id, proven, missing, failure, crl_number, links } = steps;
        let links = links.into_iter().map(StepView::from).collect();
        let missing = missing.map(Cow::Borrowed);
        Self { certificate_id, proven, missing, failure, crl_number, links }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{day, json_of};
    use super::*;

    #[test]
    fn a_revocation_has_this_json() {
        let step = |link, held_at, seconds| StepState { link, held_at, seconds };
        let steps = RevocationSteps {
            certificate_id: Uuid::from_u128(1),
            proven: false,
            missing: Some("published"),
            failure: Some("disk full".into()),
            crl_number: None,
            links: vec![step("revoked", Some(day(1)), Some(0.0)), step("published", None, None)],
        };
        let expected = concat!(
            r#"{"certificate_id":"00000000-0000-0000-0000-000000000001","proven":false,"#,
            r#""missing":"published","failure":"disk full","crl_number":null,"#,
            r#""links":[{"link":"revoked","held_at":"2026-11-01T00:00:00Z","seconds":0.0},"#,
            r#"{"link":"published","held_at":null,"seconds":null}]}"#
        );
        assert_eq!(json_of::<_, RevocationView>(steps), expected);
    }
}
