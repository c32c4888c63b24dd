//! The HTTP listeners of the daemon.
//!
//! Read it in this order:
//!
//! 1. [`listener`] bounds the connections of every listener;
//! 2. `ops` serves health and metrics, [`ops_client`] reads them from the command line;
//! 3. `hooks` answers the authorization requests of the broker;
//! 4. `api` serves the management API, [`endpoints`] holds its resources, [`views`] the JSON of their
//!    rows;
//! 5. [`session`] knows the people at the console;
//! 6. `component_health` and `fleet_cache` have what the overview shows, `shared_counts` the counts of
//!    lists, [`live`] what the live tail shows;
//! 7. `public` serves guests, [`est`] devices that need a certificate.
//!
//! It translates between HTTP and the other modules; it decides nothing about a message.

pub(crate) mod api;
mod component_health;
pub(crate) mod endpoints;
pub(crate) mod est;
mod fleet_cache;
mod hooks;
pub(crate) mod listener;
pub(crate) mod live;
mod ops;
pub(crate) mod ops_client;
mod public;
pub(crate) mod session;
mod shared_counts;
pub(crate) mod views;

pub use api::admin_token::FromThisMachine;
pub use api::auth::CSRF_HEADER;
pub use api::call::{ApiCall, ApiCaller, ApiReply, CallFault, MAX_REPLY};
pub use api::extract::MAX_BODY;
pub use api::identity::{CallIdentity, CallerProof};
pub(crate) use api::page::{CountedPage, FoundRows, Page as PageOf};
pub use api::page_api::{ApiFault, PageApi};
pub use api::problem::{ProblemRow, problem_rows};
pub use api::routes::api_document;
pub use api::signed_in::SignedIn;
pub use api::state::Api;
pub use api::{api_router, page_router, serve_api};
pub(crate) use endpoints::access::{read_action, read_subject};
pub(crate) use endpoints::certificates::IssuedCertificate;
pub(crate) use endpoints::dead_letters::{DiscardedLetters, QueuedAgain};
pub(crate) use endpoints::devices::{AddedDevice, DeviceToken, RemovedDevice};
pub(crate) use endpoints::drain::DrainView;
pub(crate) use endpoints::enrolment_codes::MadeEnrolmentCode;
pub(crate) use endpoints::explain::Explained;
pub(crate) use endpoints::links::{ForgottenLink, RefilledPeriod};
pub(crate) use endpoints::telemetry::Buckets;
pub(crate) use est::inspect::inspect as inspect_est_files;
pub use est::tls::{EstTlsError, EstTlsFiles};
pub use est::{EstApi, EstTls, serve_est};
pub use hooks::{Hooks, serve_hooks};
pub(crate) use listener::browser::check_own_page;
pub use live::LiveDesk;
pub use ops::{CachedGrantReader, serve_ops};
pub use public::{PublicApi, serve_public};
pub use session::Sessions;
pub use session::arrival::Arrival;
pub use session::sign_in::SignInError;
pub(crate) use views::access::{
    AccessDecisionView, AccessLintView, DenialView, DenialsView, LintFindingView, RuleLinesView,
};
pub(crate) use views::authority::{
    AuthorityView, CertificateExpiryView, CrlStatusView, ShownCertificateView,
};
pub(crate) use views::cells::{CellAuthorityView, CellsView, RegisteredCellView};
pub(crate) use views::certificates::{CertificateDetailView, CertificateView};
pub(crate) use views::commands::CommandView;
pub(crate) use views::dead_letters::{DeadLetterSummaryView, DeadLetterView, TenantLinkView};
pub(crate) use views::devices::{DeviceDetailView, DeviceListView};
pub(crate) use views::doctor::{DoctorView, FindingView};
pub(crate) use views::enrolment::EnrolmentCodeView;
pub(crate) use views::events::EventView;
pub(crate) use views::live::{
    DroppedView, EndView, LiveLineView, RecentDecisionsView, SamplingView, TroublesView,
};
pub(crate) use views::overview::{FlowPointView, OverviewView, ReasonView};
pub(crate) use views::revocation::RevocationView;
pub(crate) use views::settings::{SettingView, SettingsView};
pub(crate) use views::shadows::ShadowView;
pub(crate) use views::telemetry::TelemetryView;
pub(crate) use views::tenants::TenantView;
