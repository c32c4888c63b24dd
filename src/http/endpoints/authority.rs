//! `/ca` and `/crl`: the authority and its CRL in words and numbers. The files themselves are in
//! [`super::ca`].
//!
//! It signs nothing and publishes nothing.

use std::path::Path;

use chrono::{DateTime, Utc};

use super::ca::apart;
use crate::clock;
use crate::domain::clocks::Clocks;
use crate::domain::time::Timestamp;
use crate::http::api::extract::{Call, NoBody, NoParams};
use crate::http::api::problem::{Problem, ProblemKind};
use crate::http::api::route::OkJson;
use crate::http::api::state::Api;
use crate::http::views::authority::{
    AuthorityCertificateView, AuthorityView, CrlFileView, CrlStatusView, RevokedWeekView,
};
use crate::pki::authority::AuthorityCertificate;
use crate::pki::authority::end::AuthorityEnd;
use crate::pki::certificate::Certificate;
use crate::pki::crl::file::{self, CrlState};
use crate::pki::crl::times_of;
use crate::pki::{decoded, files};
use crate::store::certificates::crl_history;
use crate::store::certificates::inventory::count_active_of;
use crate::store::certificates::revocation_ledger::{self, CrlRow};

/// The largest file with certificates of an authority, in bytes.
const MAX_CA_BYTES: u64 = 64 * 1024;

const SECONDS_PER_DAY: i64 = 86_400;

pub(crate) async fn show_ca(
    api: Api,
    _: Call<NoParams, NoParams, NoBody>,
) -> Result<OkJson<AuthorityView>, Problem> {
    let path = api.config.certificates.ca_cert_path.clone();
    let Some(path) = path else {
        return Err(Problem::not_found(
            "no authority is configured: set DEVICE_CA_CERT_PATH, or make one with `sluice ca init`",
        ));
    };
    let place = path.clone();
    let now = clock::now();
    let mut view = apart(Some(&path), move || read_authority(&place, now)).await?;
    // The number of all certificates is not for a caller of one tenant.
    if let Some(own) = view.certificates.first_mut().filter(|_| api.acting.tenant.is_none()) {
        let (own_count, others) =
            count_active_of(api.database.pool(), &own.decoded.subject).await?;
        own.active_certificates = Some(own_count);
        own.active_of_others = Some(others);
    }
    Ok(OkJson(view))
}

pub(crate) async fn show_crl(
    api: Api,
    _: Call<NoParams, NoParams, NoBody>,
) -> Result<OkJson<CrlStatusView>, Problem> {
    let pool = api.database.pool();
    let now = clock::now();
    let state = revocation_ledger::published(pool).await?;
    let last = revocation_ledger::last_list(pool).await?;
    let chain = crl_history::chain_summary(pool).await?;
    let growth = crl_history::growth(pool, now).await?;
    let (this_update, last) = dated(last).await?;
    let file = file_of(&api, &state, last, now).await;
    let is_wrong = file.fault.is_some() && file.path.is_some();
    Ok(OkJson(CrlStatusView {
        issuer: state.issuer,
        number: state.crl_number,
        entries: state.entries,
        this_update,
        next_update: state.next_update,
        published_at: state.published_at,
        // A broker that reads a wrong file enforces nothing, whatever the last probe found.
        enforced: state.enforced.map(|is_enforced| is_enforced && !is_wrong),
        finding: state.finding,
        checked_at: state.looked_at,
        reloaded_at: chain.reloaded_at,
        proven_at: chain.proven_at,
        unproven: chain.unproven,
        failed: chain.failed,
        growth: growth.into_iter().map(RevokedWeekView::from).collect(),
        file,
    }))
}

// === private helpers ===

/// When a CRL becomes valid, and the CRL itself.
async fn dated(last: Option<Vec<u8>>) -> Result<(Option<DateTime<Utc>>, Option<Vec<u8>>), Problem> {
    let Some(der) = last else { return Ok((None, None)) };
    apart(None, move || {
        let this_update = times_of(&der).map(|(this_update, _)| this_update.to_utc());
        Ok((this_update, Some(der)))
    })
    .await
}

fn read_authority(path: &Path, now: Timestamp) -> Result<AuthorityView, Problem> {
    let unusable = |why: String| {
        Problem::new(ProblemKind::Unavailable, format!("{} cannot be used: {why}", path.display()))
    };
    let text = files::read(path, MAX_CA_BYTES).map_err(|error| unusable(error.to_string()))?;
    let chain = Certificate::chain_from_pem(&text).map_err(|error| unusable(error.to_string()))?;
    let warning = match AuthorityEnd::of_file(path, now) {
        AuthorityEnd::Far(_) => None,
        AuthorityEnd::Near(_, why) | AuthorityEnd::Past(_, why) | AuthorityEnd::Unknown(why) => {
            Some(why)
        }
    };
    let certificates = chain
        .iter()
        .enumerate()
        .map(|(place, certificate)| of_chain(place, certificate, now))
        .collect::<Result<_, _>>()
        .map_err(unusable)?;
    Ok(AuthorityView { path: path.display().to_string(), warning, certificates })
}

fn of_chain(
    place: usize,
    certificate: &Certificate,
    now: Timestamp,
) -> Result<AuthorityCertificateView, String> {
    let decoded = decoded::decode_der(certificate.der()).map_err(|error| error.to_string())?;
    let end = certificate.not_after();
    Ok(AuthorityCertificateView {
        role: if place == 0 { "signer" } else { "chain" }.to_owned(),
        fingerprint_sha256: certificate.fingerprint().to_string(),
        not_before: certificate.not_before().to_utc(),
        not_after: end.to_utc(),
        days_left: (end.micros() - now.micros()).div_euclid(SECONDS_PER_DAY * 1_000_000),
        active_certificates: None,
        active_of_others: None,
        cert_pem: certificate.to_pem(),
        decoded: decoded.into(),
    })
}

/// The file of the broker, compared with the CRL that was published last.
async fn file_of(api: &Api, state: &CrlRow, last: Option<Vec<u8>>, now: Timestamp) -> CrlFileView {
    let settings = &api.config.certificates;
    let Some(path) = settings.crl_output_path.clone() else {
        let fault = "CRL_OUTPUT_PATH is not set, so this daemon writes no CRL file".to_owned();
        return CrlFileView { path: None, number: None, fault: Some(fault) };
    };
    let ca = settings.ca_cert_path.clone();
    let newest = u64::try_from(state.crl_number).ok();
    let place = path.clone();
    let checked = apart(Some(&path), move || {
        Ok(ca
            .ok_or_else(|| "DEVICE_CA_CERT_PATH is not set".to_owned())
            .and_then(|ca| judge(&ca, &place, newest, last, now)))
    });
    let checked = checked.await.unwrap_or_else(|problem| Err(problem.detail));
    let path = Some(path.display().to_string());
    match checked {
        Ok(number) => CrlFileView { path, number: Some(number), fault: None },
        Err(fault) => CrlFileView { path, number: None, fault: Some(fault) },
    }
}

fn judge(
    ca: &Path,
    path: &Path,
    newest: Option<u64>,
    last: Option<Vec<u8>>,
    now: Timestamp,
) -> Result<u64, String> {
    let authority = AuthorityCertificate::open(ca, now).map_err(|error| error.timeless())?;
    let clocks = Clocks { own: now, database: now };
    match file::inspect(path, &authority, clocks, newest) {
        CrlState::Bad(fault) => Err(fault.to_string()),
        CrlState::Good(crl) if last.is_some_and(|last| last != crl.der()) => Err(format!(
            "it is not the CRL that was published last, but another one with number {}",
            crl.number()
        )),
        CrlState::Good(crl) => Ok(crl.number()),
    }
}
