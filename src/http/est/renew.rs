//! Answers requests for the successor of the certificate of the connection.
//!
//! The handshake proves that the device holds the key of that certificate; the registry says whether
//! the certificate is valid now, so a revocation acts at once.

use axum::extract::connect_info::ConnectInfo;
use axum::extract::{RawPathParams, Request, State};
use axum::http::{HeaderMap, StatusCode};

use super::answer::{Answer, CertsOnly, EstRefusal};
use super::incoming::{read_whole, refused_request, require_pkcs10, tenant_of};
use super::message::request_of;
use super::state::EstApi;
use super::tls_listener::EstPeer;
use crate::domain::ids::{DeviceKey, TenantId};
use crate::pki::certificate::Certificate;
use crate::registry::SignerError;
use crate::registry::certificates::issue::IssueError;
use crate::registry::certificates::renew_by_device::{
    self, DeviceRenewal, DeviceRenewalError, HolderProof,
};
use crate::store::certificates::{self, CertificateError, Handle};
use crate::telemetry::certificates::RenewedBy;

const NOT_REGISTERED: &str =
    "the certificate of the connection is not registered: request a first certificate with a code";

/// `POST /simplereenroll`: the successor of the certificate of the connection.
pub(super) async fn again(
    State(est): State<EstApi>,
    ConnectInfo(peer): ConnectInfo<EstPeer>,
    path: RawPathParams,
    request: Request,
) -> Answer {
    let (headers, body) = read_whole(&peer, request).await?;
    match peer.certificate() {
        Some(shown) => est.renew(shown, &path, &headers, &body).await,
        None => Err(forbidden("connect with the certificate of the device that is to be renewed")),
    }
}

// === impl EstApi ===

impl EstApi {
    /// Renews the certificate `shown`, which the device proved to hold.
    pub(super) async fn renew(
        &self,
        shown: &[u8],
        path: &RawPathParams,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Answer {
        require_pkcs10(headers)?;
        let tenant = tenant_of(path).map_err(|_| forbidden(NOT_REGISTERED))?;
        let shown = Certificate::from_der(shown).map_err(|error| self.fault(&error.to_string()))?;
        let csr = request_of(body).unwrap_or_default();
        let answer =
            self.within_time(Box::pin(self.successor(&shown, tenant.as_ref(), &csr))).await;
        answer.map(|certificate| certificate.for_client(headers))
    }

    async fn successor(
        &self,
        shown: &Certificate,
        tenant: Option<&TenantId>,
        csr: &[u8],
    ) -> Answer {
        let handle = Handle::Fingerprint(shown.fingerprint().to_string());
        let row = match certificates::find(self.context().database.pool(), &handle).await {
            Ok(found) => found.certificate,
            Err(CertificateError::Unknown(_)) => return Err(forbidden(NOT_REGISTERED)),
            Err(error) => return Err(self.fault(&error.to_string())),
        };
        let device = DeviceKey::new(&row.tenant_id, &row.device_id)
            .map_err(|error| self.fault(&error.to_string()))?;
        if tenant.is_some_and(|tenant| tenant.as_str() != device.tenant()) {
            return Err(forbidden(NOT_REGISTERED));
        }
        let (certificate, holder) = (Some(&handle), HolderProof::Verified);
        let wish = DeviceRenewal { device: &device, csr, certificate, holder };
        let renewed = renew_by_device::renew(self.context(), &self.certificates, wish)
            .await
            .map_err(|error| self.refused_renewal(error))?;
        if renewed.is_new {
            self.registry_metrics.count_renewed(RenewedBy::Est);
        }
        let certificate = Certificate::from_pem(renewed.pem.as_bytes())
            .map_err(|error| self.fault(&error.to_string()))?;
        Ok(CertsOnly::issued(certificate))
    }

    fn refused_renewal(&self, error: DeviceRenewalError) -> EstRefusal {
        let what = error.to_string();
        match error {
            DeviceRenewalError::Issue(IssueError::Request(error)) => refused_request(&error),
            DeviceRenewalError::TooManyActive { .. } => EstRefusal::new(StatusCode::CONFLICT, what),
            DeviceRenewalError::TooOften { retry_after, .. } => {
                EstRefusal::too_often(what, retry_after)
            }
            DeviceRenewalError::Device(_)
            | DeviceRenewalError::NoCertificate(_)
            | DeviceRenewalError::NotYours(..)
            | DeviceRenewalError::Proof(_)
            | DeviceRenewalError::Unverifiable(_)
            | DeviceRenewalError::Revoked(_)
            | DeviceRenewalError::TooLate { .. }
            | DeviceRenewalError::Replaced(_)
            | DeviceRenewalError::RevokedKey(_)
            | DeviceRenewalError::Signer(SignerError::UnknownIssuer(_))
            | DeviceRenewalError::Store(
                CertificateError::NoDevice(_)
                | CertificateError::DeviceRevoked(_)
                | CertificateError::NotActive { .. },
            )
            | DeviceRenewalError::Issue(IssueError::Store(
                CertificateError::NoDevice(_) | CertificateError::DeviceRevoked(_),
            )) => forbidden(what),
            DeviceRenewalError::Signer(_)
            | DeviceRenewalError::Issue(_)
            | DeviceRenewalError::Store(_) => self.fault(&what),
        }
    }
}

// === private helpers ===

fn forbidden(detail: impl Into<String>) -> EstRefusal {
    EstRefusal::new(StatusCode::FORBIDDEN, detail)
}
