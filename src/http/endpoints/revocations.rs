//! Revokes a certificate, and shows the progress of a revocation.
//!
//! It does not advance the chain: the replica that publishes the CRL does.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::certificates::CertificatePath;
use crate::http::api::extract::{Call, Json, NoBody, NoParams};
use crate::http::api::params::{Param, Whole};
use crate::http::api::problem::{Problem, ProblemKind};
use crate::http::api::route::OkJson;
use crate::http::api::state::{Api, WAIT_SECONDS_MAX};
use crate::pki::crl::RevocationReason;
use crate::registry::certificates::{find, revoke as revoking};
use crate::registry::revocation::progress::{self, RevocationFailure, RevocationSteps};
use crate::store::certificates::{self, CertificateRow};

/// How long to wait.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WaitParams {
    /// Wait so many seconds for the proof that the broker acts on it; a link that does not hold is
    /// then a problem.
    wait: Option<Param<Whole<1, WAIT_SECONDS_MAX>>>,
}

/// Why it is revoked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToRevoke {
    /// By its name in RFC 5280; `unspecified` when not given.
    reason: Option<Param<RevocationReason>>,
}

/// A certificate that is revoked.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RevokedCertificate {
    #[serde(flatten)]
    certificate: CertificateRow,
    /// Whether it was revoked before; its first date and reason stand.
    was_revoked: bool,
    /// The one whose place it took, when that one still retires: rotate it, or soon the device
    /// holds none that is good.
    retiring: Option<CertificateRow>,
    /// Each link of the chain with its time, when that was waited for.
    revocation: Option<RevocationSteps>,
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
            let patience = Duration::from_secs(seconds.into());
            let held =
                progress::wait_for(&api.database, revoked.certificate.id, patience, |_| {}).await;
            Some(RevocationSteps::from(&held.map_err(after_revoking)?))
        }
        None => None,
    };
    let (certificate, retiring) = (revoked.certificate, revoked.retiring);
    Ok(OkJson(RevokedCertificate {
        certificate,
        was_revoked: !revoked.is_new,
        retiring,
        revocation,
    }))
}

pub(crate) async fn show(
    api: Api,
    call: Call<CertificatePath, NoParams, NoBody>,
) -> Result<OkJson<RevocationSteps>, Problem> {
    let found = certificates::find(api.database.pool(), &call.path.certificate.0).await?;
    Ok(OkJson(RevocationSteps::from(&progress::look(&api.database, found.certificate.id).await?)))
}

// === impl Problem ===

impl From<RevocationFailure> for Problem {
    fn from(broken: RevocationFailure) -> Self {
        let what = broken.to_string();
        match broken {
            RevocationFailure::NotRevoked(_) => Self::not_found(what),
            RevocationFailure::Outage(_) => Self::new(ProblemKind::Unavailable, what),
            RevocationFailure::Link { progress, .. } => Self {
                revocation: Some(Box::new(RevocationSteps::from(progress.as_ref()))),
                ..Self::new(ProblemKind::NotProven, what)
            },
        }
    }
}

// === private helpers ===

/// The response after the wait; the revocation itself holds, whatever the wait found.
fn after_revoking(broken: RevocationFailure) -> Problem {
    match broken {
        RevocationFailure::Outage(_) => Problem::new(
            ProblemKind::Unavailable,
            format!("the certificate is revoked, but {broken}"),
        ),
        RevocationFailure::Link { .. } | RevocationFailure::NotRevoked(_) => broken.into(),
    }
}
