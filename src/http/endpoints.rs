//! The endpoints of the API, one resource in a file; the table in `http/api/routes.rs` names each
//! of them.
//!
//! Read it in the order of the resources: [`tenants`], [`device_list`], [`devices`], [`telemetry`], [`quarantine`],
//! [`quarantine_facets`], [`replays`],
//! [`links`], [`dead_letters`], [`explain`], [`enrolment_codes`], [`certificate_list`], [`certificates`],
//! [`revocations`], [`ca`], [`cells`], [`authority`], [`commands`], [`command_batches`], [`shadows`], [`me`],
//! [`operators`], [`audit`], [`settings`], [`access`], [`doctor`], [`live`], [`drain`]. An endpoint contains no SQL.

pub(crate) mod access;
pub(crate) mod audit;
pub(crate) mod authority;
pub(crate) mod ca;
pub(crate) mod cells;
pub(crate) mod certificate_list;
pub(crate) mod certificates;
pub(crate) mod command_batches;
pub(crate) mod commands;
pub(crate) mod dead_letters;
pub(crate) mod device_list;
pub(crate) mod devices;
pub(crate) mod doctor;
pub(crate) mod drain;
pub(crate) mod enrolment_codes;
pub(crate) mod explain;
pub(crate) mod links;
pub(crate) mod live;
pub(crate) mod me;
pub(crate) mod operators;
pub(crate) mod overview;
pub(crate) mod quarantine;
pub(crate) mod quarantine_facets;
pub(crate) mod replays;
pub(crate) mod revocations;
pub(crate) mod settings;
pub(crate) mod shadows;
pub(crate) mod telemetry;
pub(crate) mod tenants;
