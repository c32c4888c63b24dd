//! Revoking a certificate, and how far the chain of a revocation has come.
//!
//! It carries no link on: that is for the replica that publishes the CRL.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::certificates::Which;
use crate::http::api::extract::{Call, Json, NoBody, Nothing};
use crate::http::api::params::{Said, Whole};
use crate::http::api::problem::{Kind, Problem};
use crate::http::api::route::Found;
use crate::http::api::{Api, WAIT_SECONDS_MAX};
use crate::pki::crl::RevocationReason;
use crate::registry::certificates::{find, revoke as revoking};
use crate::registry::revocation::progress::{self, Broken, Chain};
use crate::store::certificates::{self, CertificateRow};

/// How long to wait.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Patience {
    /// Wait so many seconds for the proof that the broker acts on it; a link that does not hold is then a problem.
    wait: Option<Said<Whole<1, WAIT_SECONDS_MAX>>>,
}

/// Why it is revoked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToRevoke {
    /// By its name in RFC 5280; `unspecified` when not given.
    reason: Option<Said<RevocationReason>>,
}

/// A certificate that is revoked.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RevokedCertificate {
    #[serde(flatten)]
    certificate: CertificateRow,
    /// Whether it was revoked before; its first date and reason stand.
    was_revoked: bool,
    /// The one whose place it took, when that one still retires: rotate it, or soon the device holds none that is good.
    retiring: Option<CertificateRow>,
    /// Each link of the chain with its time, when that was waited for.
    revocation: Option<Chain>,
}

pub(crate) async fn revoke(
    api: Api,
    call: Call<Which, Patience, Json<ToRevoke>>,
) -> Result<Found<RevokedCertificate>, Problem> {
    let reason = call.body.0.reason.map_or(RevocationReason::Unspecified, |Said(reason)| reason);
    let desk = api.desk();
    let revoked = api.work(async {
        let id = find::resolve(desk, &call.path.certificate.0).await?;
        revoking::revoke(desk, id, reason).await
    });
    let revoked = revoked.await?;
    let revocation = match call.query.wait {
        Some(Said(Whole(seconds))) => {
            let patience = Duration::from_secs(seconds.into());
            let held = progress::wait_for(&api.database, revoked.certificate.id, patience, |_| {}).await;
            Some(Chain::from(&held.map_err(after_revoking)?))
        }
        None => None,
    };
    let (certificate, retiring) = (revoked.certificate, revoked.retiring);
    Ok(Found(RevokedCertificate { certificate, was_revoked: !revoked.is_new, retiring, revocation }))
}

pub(crate) async fn show(api: Api, call: Call<Which, Nothing, NoBody>) -> Result<Found<Chain>, Problem> {
    let found = certificates::find(api.database.pool(), &call.path.certificate.0).await?;
    Ok(Found(Chain::from(&progress::look(&api.database, found.certificate.id).await?)))
}

// === impl Problem ===

impl From<Broken> for Problem {
    fn from(broken: Broken) -> Self {
        let what = broken.to_string();
        match broken {
            Broken::NotRevoked(_) => Self::not_found(what),
            Broken::Outage(_) => Self::new(Kind::Unavailable, what),
            Broken::Link { progress, .. } => {
                Self { revocation: Some(Box::new(Chain::from(progress.as_ref()))), ..Self::new(Kind::NotProven, what) }
            }
        }
    }
}

// === private helpers ===

/// Whatever the wait came to, the row stands.
fn after_revoking(broken: Broken) -> Problem {
    match broken {
        Broken::Outage(_) => Problem::new(Kind::Unavailable, format!("the certificate is revoked, but {broken}")),
        Broken::Link { .. } | Broken::NotRevoked(_) => broken.into(),
    }
}
