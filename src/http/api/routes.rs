//! The table of routes, one line for each route. The router and the document both come from it.

use std::sync::LazyLock;

use serde_json::Value;

use super::access::RouteScope::{
    Body as InBody, DeadLetter as OfDeadLetter, Event as OfEvent, Everything, Links as AllLinks,
    Nothing as OfAll, Query as InQuery, Replay as OfReplay, Topic as InTopic,
};
use super::access::{always, unless_without_token, with_new_key};
use super::extract::{Call, NoBody, NoParams};
use super::openapi;
use super::problem::Problem;
use super::renamed::TIME_RANGE;
use super::route::{OkJson, Route, delete, get, patch, post, put, stream};
use super::state::Api;
use crate::domain::caller::CallerRole::{Admin, Operator, Viewer};
use crate::http::endpoints::{
    access, audit, authority, ca, cells, certificate_list, certificates, command_batches, commands,
    dead_letters, device_list, devices, doctor, drain, enrolment_codes, explain, links, live, me,
    operators, overview, quarantine, quarantine_facets, replays, revocations, settings, shadows,
    telemetry, tenants,
};

/// The fields of a message that hold its payload.
const PAYLOAD: &[&str] = &["payload", "payload_hex"];

/// The field with the parts of a payload that Sluice does not know.
const EXTRA: &[&str] = &["extra"];

/// All routes.
pub(super) fn table() -> Vec<Route> {
    of_the_registry()
        .into_iter()
        .chain(of_certificates())
        .chain(of_links())
        .chain(of_people())
        .chain(of_the_daemon())
        .collect()
}

#[rustfmt::skip]
fn of_the_registry() -> Vec<Route> {
    vec![
        get("/api/v1/openapi.json", "Show this document", show_document).public(),

        get("/api/v1/overview", "Show how the daemon and its fleet are: health, rates, reasons, devices, certificates", overview::show).for_role(Viewer, InQuery).patient(),

        get("/api/v1/tenants", "List tenants by identifier", tenants::list).for_role(Viewer, Everything),
        post("/api/v1/tenants", "Add a tenant", tenants::add),
        get("/api/v1/tenants/{tenant}", "Show a tenant", tenants::show),
        patch("/api/v1/tenants/{tenant}", "Suspend or activate a tenant", tenants::change),
        delete("/api/v1/tenants/{tenant}", "Remove a tenant without devices", tenants::remove),

        get("/api/v1/devices", "Search the devices of all tenants", device_list::list).for_role(Viewer, InQuery),
        get("/api/v1/tenants/{tenant}/devices", "Search the devices of a tenant", device_list::list_of),
        post("/api/v1/tenants/{tenant}/devices", "Add a device and, unless `token` is false, generate its token, which only this response contains", devices::add).secret(unless_without_token).role(Admin),
        get("/api/v1/tenants/{tenant}/devices/{device}", "Show a device", devices::show),
        get("/api/v1/tenants/{tenant}/devices/{device}/registration", "Show what the registration of a device would do to its refused messages", devices::preview).role(Operator),
        patch("/api/v1/tenants/{tenant}/devices/{device}", "Change the status, the site or the metadata of a device", devices::change),
        delete("/api/v1/tenants/{tenant}/devices/{device}", "Remove a device and revoke its certificates", devices::remove).role(Admin),
        post("/api/v1/tenants/{tenant}/devices/{device}/token", "Replace the token of a device; only this response contains the new one", devices::make_token).secret(always).role(Admin),
        delete("/api/v1/tenants/{tenant}/devices/{device}/token", "Remove the token of a device", devices::take_token).role(Admin),

        get("/api/v1/tenants/{tenant}/commands", "List the commands to the devices of a tenant, the newest first", commands::list_of_tenant),
        post("/api/v1/tenants/{tenant}/commands", "Queue one command for the devices of a tenant that match", command_batches::queue),
        get("/api/v1/tenants/{tenant}/command-batches/{batch}", "Show how far a batch of commands is", command_batches::show),
        delete("/api/v1/tenants/{tenant}/command-batches/{batch}", "Cancel the open commands of a batch", command_batches::cancel),
        get("/api/v1/tenants/{tenant}/devices/{device}/commands", "List the commands to a device, the newest first", commands::list),
        post("/api/v1/tenants/{tenant}/devices/{device}/commands", "Queue a command to a device", commands::queue),
        get("/api/v1/tenants/{tenant}/devices/{device}/commands/{command}", "Show a command", commands::show),
        delete("/api/v1/tenants/{tenant}/devices/{device}/commands/{command}", "Cancel an open command", commands::cancel),

        get("/api/v1/tenants/{tenant}/shadows", "List the desired and reported documents of a tenant's devices by identifier", shadows::list),
        get("/api/v1/tenants/{tenant}/devices/{device}/shadow", "Show the desired and the reported document of a device, and their difference", shadows::show),
        put("/api/v1/tenants/{tenant}/devices/{device}/shadow/desired", "Replace the desired document of a device", shadows::set),
        patch("/api/v1/tenants/{tenant}/devices/{device}/shadow/desired", "Change the desired document of a device by a JSON merge patch (RFC 7396)", shadows::patch),
        delete("/api/v1/tenants/{tenant}/devices/{device}/shadow/desired", "Remove the desired document of a device", shadows::clear),

        get("/api/v1/tenants/{tenant}/telemetry/latest", "Show the latest row of each device of a tenant", telemetry::latest_of_each).payloads(EXTRA),
        get("/api/v1/tenants/{tenant}/devices/{device}/telemetry", "List the rows of a device in the order of time", telemetry::range).renamed(&TIME_RANGE).payloads(EXTRA),
        get("/api/v1/tenants/{tenant}/devices/{device}/telemetry/latest", "Show the latest row of a device", telemetry::latest).payloads(EXTRA),
        get("/api/v1/tenants/{tenant}/devices/{device}/telemetry/buckets", "Show the average, minimum, maximum and count of a metric per interval", telemetry::buckets).renamed(&TIME_RANGE),

        get("/api/v1/quarantine", "List refused messages, the newest first", quarantine::list).for_role(Viewer, InQuery),
        post("/api/v1/quarantine/replay", "Check refused messages again, and store those that are accepted now", quarantine::replay).for_role(Operator, InBody),
        post("/api/v1/quarantine/discard", "Delete refused messages permanently", quarantine::discard).for_role(Admin, InBody),
        get("/api/v1/quarantine/facets", "Count refused messages by reason, tenant, device and time", quarantine_facets::facets).for_role(Viewer, InQuery),
        get("/api/v1/quarantine/neighbours", "Name the refused messages beside a place in their list", quarantine::neighbours).for_role(Viewer, InQuery),
        post("/api/v1/quarantine/replays", "Order a job that finds out what a replay of refused messages would do", replays::order).for_role(Operator, InBody),
        get("/api/v1/quarantine/replays", "List the replay jobs, the newest first", replays::list).for_role(Viewer, InQuery),
        get("/api/v1/quarantine/replays/{id}", "Show a replay job with its progress and its results", replays::show).for_role(Viewer, OfReplay),
        post("/api/v1/quarantine/replays/{id}/start", "Replay exactly what the job has dry-run, or continue a stopped job", replays::start).for_role(Operator, OfReplay),
        post("/api/v1/quarantine/replays/{id}/stop", "Stop a replay job; it can be continued", replays::stop).for_role(Operator, OfReplay),
        get("/api/v1/quarantine/{id}/explain", "Explain check by check what happens to a refused message if it is replayed now", explain::explain_event).for_role(Operator, OfEvent),
        get("/api/v1/quarantine/{id}", "Show a refused message with its payload", quarantine::show).for_role(Viewer, OfEvent).payloads(PAYLOAD),
        delete("/api/v1/quarantine/{id}", "Delete a refused message permanently", quarantine::discard_one).for_role(Admin, OfEvent),

        post("/api/v1/explain", "Explain check by check why a message would be accepted or refused", explain::explain).for_role(Operator, InTopic),

        get("/api/v1/tenants/{tenant}/enrolment-codes", "List the enrolment codes of a tenant, the newest first", enrolment_codes::list),
        post("/api/v1/tenants/{tenant}/enrolment-codes", "Make an enrolment code for first certificates over EST; only this response contains it", enrolment_codes::make).secret(always).role(Admin),
        delete("/api/v1/tenants/{tenant}/enrolment-codes/{code}", "Revoke an enrolment code; certificates issued with it stay valid", enrolment_codes::revoke),
    ]
}

#[rustfmt::skip]
fn of_certificates() -> Vec<Route> {
    vec![
        get("/api/v1/certificates", "Search certificates by device, status, end, replacement, fingerprint and name", certificate_list::list).for_role(Viewer, InQuery),
        get("/api/v1/certificates/expiry", "Count the ACTIVE certificates by the week of their end", certificate_list::expiry).for_role(Viewer, InQuery),
        post("/api/v1/tenants/{tenant}/devices/{device}/certificates", "Issue a certificate to a device; only this response contains a generated private key", certificates::issue).secret(with_new_key).role(Admin),
        post("/api/v1/certificates/import", "Import a certificate that the same authority signed elsewhere", certificates::import),
        get("/api/v1/certificates/{certificate}", "Show a certificate, its PEM and its fields in words", certificates::show),
        post("/api/v1/certificates/{certificate}/renew", "Issue a successor; the old certificate stays valid until it expires", certificates::renew).secret(with_new_key),
        post("/api/v1/certificates/{certificate}/rotate", "Issue a successor; the old certificate is revoked after its grace period", certificates::rotate).secret(with_new_key),
        post("/api/v1/certificates/{certificate}/confirm", "Confirm that the device uses this certificate; its earlier ones are revoked at once", certificates::confirm),
        post("/api/v1/certificates/{certificate}/revoke", "Revoke a certificate and, with `wait`, wait for the proof that the broker refuses it", revocations::revoke).patient(),
        get("/api/v1/certificates/{certificate}/revocation", "Show the steps of a revocation", revocations::show),

        get("/api/v1/ca", "Show the authority that signs devices' certificates, and when it ends", authority::show_ca).for_role(Viewer, OfAll),
        get("/api/v1/crl", "Show the CRL, its file, and whether the broker enforces it", authority::show_crl).for_role(Viewer, OfAll),
        get("/api/v1/cells", "Show the cells of this registry and their authorities, or the copy of the registry in this cell", cells::show).for_role(Viewer, Everything),
        get("/api/v1/ca-bundle", "Download the certificates of the authority that signs devices, in PEM", ca::bundle).public(),
        get("/crl.pem", "Download the certificate revocation list in PEM", ca::crl_pem).open(),
        get("/crl.der", "Download the certificate revocation list in DER", ca::crl_der).open(),
    ]
}

#[rustfmt::skip]
fn of_links() -> Vec<Route> {
    vec![
        get("/api/v1/links", "List the links to other brokers with their state and what waits for them", links::list).for_role(Viewer, AllLinks),
        get("/api/v1/links/{name}", "Show a link with its lanes", links::show).for_role(Viewer, AllLinks),
        delete("/api/v1/links/{name}", "Delete all that belongs to a link that is no longer in the links file", links::forget),
        get("/api/v1/tenants/{tenant}/links", "List the links that did not accept messages of a tenant, with their number", links::of_tenant),
        get("/api/v1/links/{name}/refused", "List the messages that a link did not accept, the newest first", dead_letters::list).for_role(Viewer, InQuery),
        post("/api/v1/links/{name}/refused/retry", "Queue refused messages again, at most 10000", dead_letters::retry).for_role(Operator, InBody),
        get("/api/v1/links/{name}/refused/{id}", "Show a refused message with its payload", dead_letters::show).for_role(Viewer, OfDeadLetter).payloads(PAYLOAD),
        delete("/api/v1/links/{name}/refused/{id}", "Delete a refused message permanently", dead_letters::discard_one).for_role(Admin, OfDeadLetter),
        post("/api/v1/links/{name}/refill", "Queue the stored messages of a period again", links::refill).for_role(Operator, AllLinks),
    ]
}

#[rustfmt::skip]
fn of_people() -> Vec<Route> {
    vec![
        get("/api/v1/me", "Show who sends the request: name, role, tenant", me::show).for_role(Viewer, OfAll),
        get("/api/v1/audit", "List the entries of the audit log, the newest first: who changed what", audit::list).for_role(Viewer, InQuery),
        get("/api/v1/operators", "List operators by name", operators::list),
        post("/api/v1/operators", "Add an operator; only this response contains the token", operators::add).secret(always),
        get("/api/v1/operators/{operator}", "Show an operator", operators::show),
        patch("/api/v1/operators/{operator}", "Change the role of an operator, whose sessions end", operators::change),
        delete("/api/v1/operators/{operator}", "Remove an operator, whose token and sessions end", operators::remove),
        post("/api/v1/operators/{operator}/token", "Replace the token of an operator, whose sessions end; only this response contains the new one", operators::make_token).secret(always),
        get("/api/v1/sessions", "List the open sessions of the console, the newest first", operators::list_sessions),
        delete("/api/v1/sessions/{session}", "End a session of the console", operators::end_session),
    ]
}

#[rustfmt::skip]
fn of_the_daemon() -> Vec<Route> {
    vec![
        get("/api/v1/doctor", "Examine settings, daemon, broker and Postgres, and show each finding with what to do", doctor::show).for_role(Viewer, Everything).patient(),
        stream("/api/v1/live", "Follow the decisions about messages as this daemon makes them, before the commit (Server-Sent Events)", live::stream).for_role(Viewer, InQuery),
        get("/api/v1/live/recent", "List the recent decisions that a search selects, the newest first", live::recent).for_role(Viewer, InQuery).payloads(PAYLOAD),
        get("/api/v1/replica/drain", "Show how far the drain of this daemon is", drain::show),
        post("/api/v1/replica/drain", "Let this daemon leave its share group, store what waits for it, end its session at the broker, and end", drain::order),
        get("/api/v1/settings", "Show the settings in force with their sources; secrets are masked", settings::show),
        post("/api/v1/access/check", "Show whether a client may do something with a topic, and which rule decides it", access::check).for_role(Operator, Everything),
        get("/api/v1/access/lint", "List rules of the access policy that never match, have no effect, or allow too much", access::lint).for_role(Viewer, Everything),
        get("/api/v1/access/denials", "List what the hooks of this daemon denied lately, the last first", access::denials).for_role(Viewer, Everything),
    ]
}

/// The `OpenAPI` document of all routes.
pub fn api_document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| openapi::document(&table()));
    &DOCUMENT
}

// === private helpers ===

/// `GET /api/v1/openapi.json`.
async fn show_document(
    _: Api,
    _: Call<NoParams, NoParams, NoBody>,
) -> Result<OkJson<&'static Value>, Problem> {
    Ok(OkJson(api_document()))
}
