//! Answers requests for the certificates of the authority, and for the first one of a device.
//!
//! It reads the whole request before it compares a code, and compares the code before it says what
//! is wrong with the request.

use axum::extract::connect_info::ConnectInfo;
use axum::extract::{RawPathParams, Request, State};
use axum::http::{HeaderMap, StatusCode};

use super::answer::{Answer, CertsOnly, EstRefusal};
use super::incoming::{read_whole, refused_request, require_pkcs10, tenant_of};
use super::message::{Credentials, DeviceLogin, request_of};
use super::state::EstApi;
use super::tls_listener::EstPeer;
use crate::pki::certificate::Certificate;
use crate::pki::request::profile::ProfileError;
use crate::registry;
use crate::registry::certificates::issue::IssueError;
use crate::registry::enrolment::{self, Application, EnrolError};
use crate::store::registry::enrolment_uses::RedeemError;
use crate::telemetry::est::BY_EST;

/// `GET /cacerts`: the certificates of the authority that issued the certificate of the connection;
/// without one, those of all authorities. They are the same for all tenants.
pub(super) async fn authority_certificates(
    State(est): State<EstApi>,
    ConnectInfo(peer): ConnectInfo<EstPeer>,
    headers: HeaderMap,
) -> Answer {
    let (settings, now) = ((*est.certificates).clone(), (est.clock)());
    let shown = peer.certificate().map(Certificate::from_der).transpose();
    let shown = shown.map_err(|error| est.fault(&error.to_string()))?;
    let read = move || match shown {
        Some(shown) => Ok(registry::open_issuer(&settings, shown.issuer(), now)?.chain().to_vec()),
        None => registry::chains(&settings, now),
    };
    Ok(CertsOnly::of_authority(&est.on_disk(read).await?).for_client(&headers))
}

/// `POST /simpleenroll`: the first certificate, for a code.
pub(super) async fn first(
    State(est): State<EstApi>,
    ConnectInfo(peer): ConnectInfo<EstPeer>,
    path: RawPathParams,
    request: Request,
) -> Answer {
    let (headers, body) = read_whole(&peer, request).await?;
    let tenant = tenant_of(&path);
    let known_tenant = tenant.as_ref().ok().and_then(Option::as_ref);
    let credentials = Credentials::read(&headers, known_tenant);
    if matches!(credentials, Credentials::Missing) {
        // Some clients renew here: the certificate of the connection is as good as a code.
        let shown = peer.certificate().ok_or_else(EstRefusal::unauthorized)?;
        return est.renew(shown, &path, &headers, &body).await;
    }
    require_pkcs10(&headers)?;
    let address = peer.connection().ip();
    let begin = || est.attempts.begin(address, est.clock).map_err(EstRefusal::too_many);
    // A user name of no device costs an attempt, and has the answer of a wrong code.
    let (Credentials::Device(login), Ok(_)) = (credentials, &tenant) else {
        begin()?.keep();
        return Err(EstRefusal::unauthorized());
    };
    // What is no request at all is judged as one, after the code.
    let csr = request_of(&body).unwrap_or_default();
    // Charged when it is its turn: the devices of a factory have one address and start together.
    let judged = async {
        let attempt = begin()?;
        let answer = est.enrol(&login, &csr).await;
        if answer.as_ref().is_err_and(EstRefusal::is_unauthorized) {
            attempt.keep();
        }
        answer
    };
    let answer = est.within_time(judged).await;
    answer.map(|certificate| certificate.for_client(&headers))
}

// === impl EstApi ===

impl EstApi {
    async fn enrol(&self, login: &DeviceLogin, csr: &[u8]) -> Answer {
        let application = Application { device: &login.device, code: &login.code, request: csr };
        let enrolled = enrolment::enrol(self.context(), &self.certificates, application)
            .await
            .map_err(|error| self.refusal(error))?;
        let certificate = Certificate::from_pem(enrolled.pem.as_bytes())
            .map_err(|error| self.fault(&error.to_string()))?;
        if enrolled.is_new {
            self.metrics.enrolled.with_label_values(&[BY_EST]).inc();
            let (device, id) = (login.device.identity(), enrolled.certificate.id);
            tracing::info!(device, certificate = %id, "the device was enrolled with a code");
        }
        Ok(CertsOnly::issued(certificate))
    }

    fn refusal(&self, error: EnrolError) -> EstRefusal {
        let what = error.to_string();
        match error {
            EnrolError::NotValid => EstRefusal::unauthorized(),
            EnrolError::Request(error) | EnrolError::Issue(IssueError::Request(error)) => {
                refused_request(&error)
            }
            EnrolError::Refused(RedeemError::Certificate(_)) => self.fault(&what),
            EnrolError::Ended { .. } | EnrolError::Refused(_) => {
                EstRefusal::new(StatusCode::FORBIDDEN, what)
            }
            EnrolError::Issue(IssueError::Profile(ProfileError::Name(_))) => {
                EstRefusal::new(StatusCode::BAD_REQUEST, what)
            }
            EnrolError::Issue(_) | EnrolError::Signer(_) | EnrolError::Outage(_) => {
                self.fault(&what)
            }
        }
    }
}
