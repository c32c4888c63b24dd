//! Revokes a certificate, and shows the progress of a revocation.
//!
//! It does not perform the steps: the replica that publishes the CRL does.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::certificates::CertificatePath;
use crate::http::api::extract::{Call, Json, NoBody, NoParams};
use crate::http::api::params::{Param, Whole};
use crate::http::api::problem::{Problem, ProblemKind};
use crate::http::api::route::OkJson;
use crate::http::api::state::{Api, WAIT_SECONDS_MAX};
use crate::http::views::certificates::CertificateView;
use crate::http::views::revocation::RevocationView;
use crate::pki::crl::RevocationReason;
use crate::registry::certificates::{find, revoke as revoking};
use crate::registry::revocation::progress::{self, RevocationFailure, RevocationSteps};
use crate::store::certificates;

/// The wait for the proof.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WaitParams {
    /// Wait this number of seconds for the proof that the broker refuses the certificate. If a step
    /// fails or takes longer, the response is a problem.
    wait: Option<Param<Whole<1, WAIT_SECONDS_MAX>>>,
}

/// The reason of a revocation.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToRevoke {
    /// The reason as RFC 5280 names it; the default is `unspecified`.
    reason: Option<Param<RevocationReason>>,
}

/// The revoked certificate.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RevokedCertificate {
    #[serde(flatten)]
    certificate: CertificateView,
    /// Whether it was already revoked; the first date and reason stay.
    was_revoked: bool,
    /// The certificate that this one replaced, if that one is still valid until it retires. Rotate
    /// it, or the device soon has no valid certificate.
    retiring: Option<CertificateView>,
    /// The steps of the revocation with their times; null without `wait`.
    revocation: Option<RevocationView>,
}

pub(crate) async fn revoke(
    api: Api,
    call: Call<CertificatePath, WaitParams, Json<ToRevoke>>,
) -> Result<OkJson<RevokedCertificate>, Problem> {
    let reason = call.body.0.reason.map_or(RevocationReason::Unspecified, |Param(reason)| reason);
    let context = api.action_context();
    let revoked = api.run_with_permit(async {
        let id = find::resolve(context, &call.path.certificate.0).await?;
        revoking::revoke(context, id, reason).await
    });
    let revoked = revoked.await?;
    let revocation = match call.query.wait {
        Some(Param(Whole(seconds))) => {
            let limit = Duration::from_secs(seconds.into());
            let waited =
                progress::wait_for(&api.database, revoked.certificate.id, limit, |_| {}).await;
            Some(RevocationSteps::from(&waited.map_err(after_revoking)?).into())
        }
        None => None,
    };
    Ok(OkJson(RevokedCertificate {
        certificate: revoked.certificate.into(),
        was_revoked: !revoked.is_new,
        retiring: revoked.retiring.map(CertificateView::from),
        revocation,
    }))
}

pub(crate) async fn show(
    api: Api,
    call: Call<CertificatePath, NoParams, NoBody>,
) -> Result<OkJson<RevocationView>, Problem> {
    let found = certificates::find(api.database.pool(), &call.path.certificate.0).await?;
    let progress = progress::read(&api.database, found.certificate.id).await?;
    Ok(OkJson(RevocationSteps::from(&progress).into()))
}

// === impl Problem ===

impl From<RevocationFailure> for Problem {
    fn from(failure: RevocationFailure) -> Self {
        let what = failure.to_string();
        match failure {
            RevocationFailure::NotRevoked(_) => Self::not_found(what),
            RevocationFailure::Outage(_) => Self::new(ProblemKind::Unavailable, what),
            RevocationFailure::Link { progress, .. } => Self {
                revocation: Some(Box::new(RevocationSteps::from(progress.as_ref()).into())),
                ..Self::new(ProblemKind::NotProven, what)
            },
        }
    }
}

// === private helpers ===

/// The problem after the wait; the certificate is revoked, whatever the wait found.
fn after_revoking(failure: RevocationFailure) -> Problem {
    match failure {
        RevocationFailure::Outage(_) => Problem::new(
            ProblemKind::Unavailable,
            format!("the certificate is revoked, but {failure}"),
        ),
        RevocationFailure::Link { .. } | RevocationFailure::NotRevoked(_) => failure.into(),
    }
}
