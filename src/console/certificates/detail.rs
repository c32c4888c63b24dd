//! `/console/certificates/{certificate}`: one certificate in words, its place among those of its
//! device, what can be done with it, and after a revocation the steps as they are done.
//!
//! It reads only.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use super::chain::ChainPart;
use super::listed::{CERTIFICATES, tone};
use crate::clock;
use crate::console::cells::{AuthorityChoice, authority_choice};
use crate::console::device_address::device_path;
use crate::console::filters;
use crate::console::frame::Frame;
use crate::console::markup::Markup;
use crate::console::navigation::NavPage;
use crate::console::page::{PageError, WebPage};
use crate::console::query::{PageQuery, segment};
use crate::console::state::ConsoleState;
use crate::console::visit::Visit;
use crate::domain::caller::CallerRole;
use crate::http::{ApiFault, RevocationView, ShownCertificateView};
use crate::pki::crl::RevocationReason;
use crate::store::certificates::CertificateStatus;

/// Ends the reloads of a part that will not change any more.
const LIVE: &str = "x-sluice-live";

/// The page.
#[derive(Template)]
#[template(path = "certificate.html")]
pub(super) struct CertificatePage {
    frame: Frame,
    shown: ShownCertificateView,
    /// The steps of its revocation, and whether they are all done.
    chain: Option<(Markup, bool)>,
    /// The address of the page itself.
    base: String,
    device: String,
    of_device: String,
    /// The authorities of cells that may sign a successor.
    authorities: AuthorityChoice,
}

pub(super) async fn show(
    State(console): State<ConsoleState>,
    Path(certificate): Path<String>,
    visit: Visit,
) -> Result<WebPage<CertificatePage>, PageError> {
    let target = format!("/api/v1/certificates/{}", segment(&certificate));
    let progress = format!("{target}/revocation");
    let (shown, revocation) = tokio::join!(
        console.api.get::<ShownCertificateView>(&visit.person, &target),
        console.api.get::<RevocationView>(&visit.person, &progress),
    );
    let shown = shown.map_err(|fault| PageError::from(fault).or("Certificates", CERTIFICATES))?;
    let row = &shown.detail.certificate;
    let chain = match revocation {
        Ok(view) => {
            let part = ChainPart::of(&view, clock::now().to_utc());
            let html = Markup::of(&part).map_err(|_| PageError::from(ApiFault::unreadable()))?;
            Some((html, part.is_proven))
        }
        Err(_) => None,
    };
    let id = row.id.to_string();
    let name = format!("Certificate of {}/{}", row.tenant_id, row.device_id);
    let mut frame = visit.frame(name, NavPage::Certificates).same_by(
        &format!("cert show {id}"),
        "GET",
        &target,
    );
    if row.status == CertificateStatus::Active {
        let revoke = format!("/api/v1/certificates/{id}/revoke?wait=20");
        let command = format!("cert revoke {id} --reason keyCompromise --wait");
        let body = r#"{"reason":"keyCompromise"}"#;
        frame = frame.same_by_sending(&command, "POST", &revoke, body);
        let rotate = format!("/api/v1/certificates/{id}/rotate");
        let command = format!("cert rotate {id} --csr device.csr --out device.crt");
        frame = frame.same_by_sending(&command, "POST", &rotate, r#"{"new_key":true}"#);
    } else if chain.is_some() {
        frame = frame.same_by("", "GET", &progress);
    }
    let authorities = authority_choice(&console, &visit, CallerRole::Operator).await;
    let search = format!("tenant:{} device:{}", row.tenant_id, row.device_id);
    Ok(WebPage(CertificatePage {
        frame,
        base: format!("{CERTIFICATES}/{id}"),
        device: device_path(&row.tenant_id, &row.device_id),
        of_device: PageQuery::from([("search", search.as_str()), ("sort", "end")])
            .href(CERTIFICATES),
        authorities,
        chain,
        shown,
    }))
}

/// The steps of the revocation. Once it is proven, the browser stops loading it.
pub(super) async fn chain_part(
    State(console): State<ConsoleState>,
    Path(certificate): Path<String>,
    visit: Visit,
) -> Result<Response, PageError> {
    let target = format!("/api/v1/certificates/{}/revocation", segment(&certificate));
    let view: RevocationView = console.api.get(&visit.person, &target).await?;
    let part = ChainPart::of(&view, clock::now().to_utc());
    let is_proven = part.is_proven;
    let part = WebPage(part);
    Ok(if is_proven { ([(LIVE, "end")], part).into_response() } else { part.into_response() })
}

/// The certificate as a file.
pub(super) async fn pem(
    State(console): State<ConsoleState>,
    Path(certificate): Path<String>,
    visit: Visit,
) -> Result<Response, PageError> {
    let target = format!("/api/v1/certificates/{}", segment(&certificate));
    let shown: ShownCertificateView = console.api.get(&visit.person, &target).await?;
    let Some(pem) = shown.detail.cert_pem else {
        return Err(PageError::not_found(
            "the registry has only the fingerprint of this certificate, not the certificate",
        ));
    };
    let name = format!("attachment; filename=\"{}.crt\"", shown.detail.certificate.id);
    let headers =
        [(CONTENT_TYPE, "application/x-pem-file".to_owned()), (CONTENT_DISPOSITION, name)];
    Ok((headers, pem).into_response())
}

// === impl CertificatePage ===

impl CertificatePage {
    const fn tone(&self) -> &'static str {
        tone(self.shown.detail.certificate.status)
    }

    fn is_active(&self) -> bool {
        self.shown.detail.certificate.status == CertificateStatus::Active
    }

    /// An expired certificate can be renewed for some time.
    fn is_renewable(&self) -> bool {
        let row = &self.shown.detail.certificate;
        row.status != CertificateStatus::Revoked && row.replaced_by.is_none()
    }

    fn reasons() -> [&'static str; 6] {
        RevocationReason::ALL.map(RevocationReason::label)
    }

    /// The fields in words: a label and its values.
    fn fields(&self) -> Vec<(&'static str, Vec<String>)> {
        let Some(decoded) = &self.shown.decoded else { return Vec::new() };
        let one = |text: &str| vec![text.to_owned()];
        let fields = [
            ("Subject", one(&decoded.subject)),
            ("Issuer", one(&decoded.issuer)),
            ("Names", decoded.subject_alternative_names.clone()),
            ("Key", one(&decoded.key)),
            ("Signature", one(&decoded.signature_algorithm)),
            ("Key usage", decoded.key_usage.clone()),
            ("Extended key usage", decoded.extended_key_usage.clone()),
            ("Serial", one(&decoded.serial)),
            ("Subject key id", decoded.subject_key_id.clone().into_iter().collect()),
            ("Authority key id", decoded.authority_key_id.clone().into_iter().collect()),
            ("Other extensions", decoded.other_extensions.clone()),
            ("Version", one(&decoded.version.to_string())),
        ];
        fields.into_iter().filter(|(_, values)| !values.is_empty()).collect()
    }
}
