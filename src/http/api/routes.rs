//! The table of routes, one line for each route. The router and the document both come from it.

use std::sync::LazyLock;

use serde_json::Value;

use super::extract::{Call, NoBody, NoParams};
use super::openapi;
use super::problem::Problem;
use super::route::{OkJson, Route, delete, get, patch, post};
use super::state::Api;
use crate::http::endpoints::{
    ca, certificates, devices, explain, quarantine, revocations, telemetry, tenants,
};

/// All of them.
#[rustfmt::skip]
pub(super) fn table() -> Vec<Route> {
    vec![
        get("/api/v1/openapi.json", "This document", show_document),

        get("/api/v1/tenants", "List tenants, by name", tenants::list),
        post("/api/v1/tenants", "Add a tenant", tenants::add),
        get("/api/v1/tenants/{tenant}", "Show a tenant", tenants::show),
        patch("/api/v1/tenants/{tenant}", "Suspend a tenant, or let it speak", tenants::change),
        delete("/api/v1/tenants/{tenant}", "Remove a tenant that has no devices", tenants::remove),

        get("/api/v1/devices", "List devices of all tenants, by tenant and name", devices::list),
        get("/api/v1/tenants/{tenant}/devices", "List devices of a tenant, by name", devices::list_of),
        post("/api/v1/tenants/{tenant}/devices", "Add a device; its token is in the answer, this once", devices::add),
        get("/api/v1/tenants/{tenant}/devices/{device}", "Show a device", devices::show),
        patch("/api/v1/tenants/{tenant}/devices/{device}", "Silence a device, or let it speak", devices::change),
        delete("/api/v1/tenants/{tenant}/devices/{device}", "Remove a device and revoke its certificates", devices::remove),
        post("/api/v1/tenants/{tenant}/devices/{device}/token", "Make a new token, shown once; the old one is void", devices::make_token),
        delete("/api/v1/tenants/{tenant}/devices/{device}/token", "Take the token away", devices::take_token),

        get("/api/v1/tenants/{tenant}/telemetry/latest", "The latest row of each device of a tenant", telemetry::latest_of_each),
        get("/api/v1/tenants/{tenant}/devices/{device}/telemetry", "Rows of a device in the order of time", telemetry::range),
        get("/api/v1/tenants/{tenant}/devices/{device}/telemetry/latest", "The latest row of a device", telemetry::latest),
        get("/api/v1/tenants/{tenant}/devices/{device}/telemetry/buckets", "A metric's average, least, most and count over time", telemetry::buckets),

        get("/api/v1/quarantine", "List refused messages, the newest first", quarantine::list),
        post("/api/v1/quarantine/replay", "Judge refused messages anew, and store those accepted now", quarantine::replay),
        post("/api/v1/quarantine/discard", "Delete refused messages for good", quarantine::discard),
        get("/api/v1/quarantine/{id}", "Show a refused message with its payload", quarantine::show),
        delete("/api/v1/quarantine/{id}", "Delete a refused message for good", quarantine::discard_one),

        post("/api/v1/explain", "Why a message would be taken or refused, check by check", explain::explain),

        get("/api/v1/certificates", "List certificates: who holds what, what ends when, what replaced what", certificates::list),
        post("/api/v1/tenants/{tenant}/devices/{device}/certificates", "Issue a certificate to a device; a key made here is in the answer, this once", certificates::issue),
        post("/api/v1/certificates/import", "Take in a certificate that the same authority signed elsewhere", certificates::import),
        get("/api/v1/certificates/{certificate}", "Show a certificate", certificates::show),
        post("/api/v1/certificates/{certificate}/renew", "Issue a certificate in the place of one that ends", certificates::renew),
        post("/api/v1/certificates/{certificate}/rotate", "Issue a certificate in the place of another, which retires after its grace", certificates::rotate),
        post("/api/v1/certificates/{certificate}/confirm", "The device uses its new certificate: those before it retire at once", certificates::confirm),
        post("/api/v1/certificates/{certificate}/revoke", "Revoke a certificate, and wait for the proof when asked to", revocations::revoke).patient(),
        get("/api/v1/certificates/{certificate}/revocation", "How far the revocation of a certificate has come, link by link", revocations::show),

        get("/api/v1/ca-bundle", "The certificates of the authority that signs devices", ca::bundle),
        get("/crl.pem", "The list of revoked certificates, in PEM", ca::crl_pem).open(),
        get("/crl.der", "The list of revoked certificates, in DER", ca::crl_der).open(),
    ]
}

// === private helpers ===

/// `GET /api/v1/openapi.json`.
async fn show_document(
    _: Api,
    _: Call<NoParams, NoParams, NoBody>,
) -> Result<OkJson<&'static Value>, Problem> {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| openapi::document(&table()));
    Ok(OkJson(&DOCUMENT))
}
