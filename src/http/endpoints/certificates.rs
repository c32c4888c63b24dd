//! `/certificates`: show, issue, import, renew, rotate, confirm. The list is in
//! [`super::certificate_list`].
//!
//! A private key generated here is only in the response to the request that ordered it.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::ca::apart;
use super::devices;
use crate::domain::ids::{DeviceId, DeviceKey, TenantId};
use crate::http::api::extract::{Call, Json, NoBody, NoParams};
use crate::http::api::params::{Param, Whole};
use crate::http::api::problem::Problem;
use crate::http::api::registry_errors::CSR;
use crate::http::api::route::{CreatedJson, OkJson};
use crate::http::api::state::Api;
use crate::http::views::authority::ShownCertificateView;
use crate::http::views::certificates::{CertificateDetailView, CertificateView};
use crate::pki::authority::directory::PairName;
use crate::pki::decoded::decode_pem;
use crate::pki::key::PrivateKeyPem;
use crate::pki::request::profile::Lifetime;
use crate::registry::certificates::find;
use crate::registry::certificates::issue::{Issued, KeySource, MAX_DAYS, Order};
use crate::registry::certificates::rotate::MAX_GRACE_HOURS;
use crate::registry::certificates::{
    import as importing, issue as issuing, renew as renewing, rotate as rotating,
};
use crate::registry::signer::place_of;
use crate::registry::{self, Signer, SignerChoice, open_signer};
use crate::store::certificates::{self, Handle};
use crate::telemetry::certificates::RenewedBy;

/// The path of a certificate.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct CertificatePath {
    /// The identifier (UUID) or the SHA-256 fingerprint in hex.
    pub certificate: Param<Handle>,
}

/// The key and the lifetime of a new certificate: send either `csr` or `new_key`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyOrder {
    /// The device's certificate request in PEM. The private key stays on the device.
    csr: Option<String>,
    /// True: Sluice generates the private key and does not store it. Only this response contains
    /// it.
    #[serde(default)]
    new_key: bool,
    /// The lifetime in days, instead of `CERT_VALIDITY_DAYS`.
    days: Option<Whole<1, MAX_DAYS>>,
    /// The authority in `CELL_AUTHORITIES_DIR` that signs. Without it, a first certificate is signed by that
    /// of `DEVICE_CA_CERT_PATH`, and a successor by the one that issued the old certificate.
    authority: Option<Param<PairName>>,
}

/// The key and the lifetime of a new certificate (send either `csr` or `new_key`), and how long the
/// old one stays valid.
// The fields are repeated: serde cannot combine `flatten` with `deny_unknown_fields`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateOrder {
    /// The device's certificate request in PEM. The private key stays on the device.
    csr: Option<String>,
    /// True: Sluice generates the private key and does not store it. Only this response contains
    /// it.
    #[serde(default)]
    new_key: bool,
    /// The lifetime in days, instead of `CERT_VALIDITY_DAYS`.
    days: Option<Whole<1, MAX_DAYS>>,
    /// The authority in `CELL_AUTHORITIES_DIR` that signs. Without it, a first certificate is signed by that
    /// of `DEVICE_CA_CERT_PATH`, and a successor by the one that issued the old certificate.
    authority: Option<Param<PairName>>,
    /// How many hours the old certificate stays valid, instead of `ROTATION_GRACE_HOURS`.
    grace_hours: Option<Whole<0, MAX_GRACE_HOURS>>,
}

/// A certificate that the same authority signed elsewhere.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertificateToImport {
    /// The certificate, in PEM.
    cert_pem: String,
    /// The expected tenant; the import fails if the certificate names another. Needs `device_id`.
    tenant_id: Option<Param<TenantId>>,
    /// The expected device; the import fails if the certificate names another. Needs `tenant_id`.
    device_id: Option<Param<DeviceId>>,
}

/// The issued certificate.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct IssuedCertificate {
    #[serde(flatten)]
    pub certificate: CertificateView,
    /// The certificate, in PEM.
    pub cert_pem: String,
    /// The generated private key in PEM (PKCS#8), of which this is the only copy; null with `csr`.
    #[schemars(with = "Option<String>")]
    pub private_key: Option<KeyOnce>,
    /// Whether the certificate expires with the authority, earlier than `CERT_VALIDITY_DAYS`.
    pub ends_with_authority: bool,
}

/// A private key for one response.
pub(crate) struct KeyOnce(pub PrivateKeyPem);

/// The result of a confirmation.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Confirmed {
    /// The new certificate, which the device uses.
    confirmed: Uuid,
    /// The earlier certificates of the device, which are revoked now.
    retired: Vec<Uuid>,
}

pub(crate) async fn show(
    api: Api,
    call: Call<CertificatePath, NoParams, NoBody>,
) -> Result<OkJson<ShownCertificateView>, Problem> {
    let found = certificates::find(api.database.pool(), &call.path.certificate.0).await?;
    let detail = CertificateDetailView::from(found);
    // A row written by hand may contain any text.
    let decoded = detail.cert_pem.as_deref().and_then(|pem| decode_pem(pem).ok());
    Ok(OkJson(ShownCertificateView { detail, decoded: decoded.map(Into::into) }))
}

pub(crate) async fn issue(
    api: Api,
    call: Call<devices::DevicePath, NoParams, Json<KeyOrder>>,
) -> Result<CreatedJson<IssuedCertificate>, Problem> {
    let (device, Json(request)) = (call.path.key(), call.body);
    let order = request.order()?;
    let signer = signer(&api, SignerChoice::first(request.authority())).await?;
    Ok(CreatedJson(issuing::issue(api.action_context(), &signer, &device, order).await?.into()))
}

pub(crate) async fn renew(
    api: Api,
    call: Call<CertificatePath, NoParams, Json<KeyOrder>>,
) -> Result<CreatedJson<IssuedCertificate>, Problem> {
    let Json(request) = call.body;
    let order = request.order()?;
    let old = find::resolve(api.action_context(), &call.path.certificate.0).await?;
    let choice = renewing::choose_signer(api.action_context(), old, request.authority()).await?;
    let signer = signer(&api, choice).await?;
    let issued = renewing::renew(api.action_context(), &signer, old, order).await?;
    api.certificate_metrics.count_renewed(RenewedBy::Api);
    Ok(CreatedJson(issued.into()))
}

pub(crate) async fn rotate(
    api: Api,
    call: Call<CertificatePath, NoParams, Json<RotateOrder>>,
) -> Result<CreatedJson<IssuedCertificate>, Problem> {
    let Json(RotateOrder { csr, new_key, days, authority, grace_hours }) = call.body;
    let grace =
        grace_hours.map_or(api.config.certificates.rotation_grace_hours, |Whole(hours)| hours);
    let request = KeyOrder { csr, new_key, days, authority };
    let order = request.order()?;
    let old = find::resolve(api.action_context(), &call.path.certificate.0).await?;
    let choice = renewing::choose_signer(api.action_context(), old, request.authority()).await?;
    let signer = signer(&api, choice).await?;
    let issued = rotating::rotate(api.action_context(), &signer, old, grace, order).await?;
    api.certificate_metrics.count_renewed(RenewedBy::Api);
    Ok(CreatedJson(issued.into()))
}

pub(crate) async fn confirm(
    api: Api,
    call: Call<CertificatePath, NoParams, NoBody>,
) -> Result<OkJson<Confirmed>, Problem> {
    let confirmed = find::resolve(api.action_context(), &call.path.certificate.0).await?;
    let retired = rotating::confirm(api.action_context(), confirmed).await?;
    Ok(OkJson(Confirmed { confirmed, retired }))
}

pub(crate) async fn import(
    api: Api,
    call: Call<NoParams, NoParams, Json<CertificateToImport>>,
) -> Result<CreatedJson<CertificateView>, Problem> {
    let Json(CertificateToImport { cert_pem, tenant_id, device_id }) = call.body;
    let expected = match (tenant_id, device_id) {
        (Some(Param(tenant)), Some(Param(device))) => Some(DeviceKey::of(&tenant, &device)),
        (None, None) => None,
        (Some(_), None) => {
            return Err(Problem::field(
                "device_id",
                "send `tenant_id` and `device_id`, or neither",
            ));
        }
        (None, Some(_)) => {
            return Err(Problem::field(
                "tenant_id",
                "send `tenant_id` and `device_id`, or neither",
            ));
        }
    };
    let (settings, context) = (api.config.certificates.clone(), api.action_context());
    let now = context.now;
    let (place, issuer) =
        (place_of(&settings).to_owned(), importing::issuer_of(cert_pem.as_bytes()));
    let open = move || Ok(registry::open_issuer(&settings, &issuer, now)?);
    let authority = apart(Some(&place), open).await?;
    Ok(CreatedJson(
        importing::import(context, &authority, cert_pem.as_bytes(), expected.as_ref())
            .await?
            .into(),
    ))
}

// === impl KeyOrder ===

impl KeyOrder {
    fn authority(&self) -> Option<PairName> {
        self.authority.as_ref().map(|Param(name)| name.clone())
    }

    fn order(&self) -> Result<Order<'_>, Problem> {
        let key = match (&self.csr, self.new_key) {
            (Some(csr), false) => KeySource::Request(csr.as_bytes()),
            (None, true) => KeySource::Made,
            (Some(_), true) => {
                return Err(Problem::field("new_key", "send either `csr` or `new_key`, not both"));
            }
            (None, false) => {
                let why = "send the device's certificate request, or set `new_key` so that Sluice generates the key";
                return Err(Problem::field(CSR, why));
            }
        };
        Ok(Order {
            key,
            lifetime: self.days.map_or(Lifetime::Usual, |Whole(days)| Lifetime::Days(days)),
        })
    }
}

// === impl IssuedCertificate ===

impl From<Issued> for IssuedCertificate {
    fn from(issued: Issued) -> Self {
        Self {
            certificate: issued.certificate.into(),
            cert_pem: issued.pem,
            private_key: issued.key.map(KeyOnce),
            ends_with_authority: issued.ends_with_authority,
        }
    }
}

// === impl KeyOnce ===

impl Serialize for KeyOnce {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.expose().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for KeyOnce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(PrivateKeyPem::received(text)))
    }
}

// === private helpers ===

/// Reads the authority's files for each order, so that a replaced authority signs at once.
async fn signer(api: &Api, choice: SignerChoice) -> Result<Signer, Problem> {
    Ok(open_signer(&api.config.certificates, choice, api.action_context().now).await?)
}
