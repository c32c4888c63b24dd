//! The registry in Postgres: tenants, devices, the lookups of authorization, the change feed, the
//! audit log.
//!
//! It stores decisions and makes none; the wing `registry` makes them.
//!
//! Read it in this order:
//! 1. [`tenants`] and [`devices`]: add, list, change, remove; [`audit`] records each change.
//!    [`device_list`] searches devices ([`device_order`] is their order), [`device_edit`] changes several fields of one at once.
//!    [`enrolment_codes`] keeps the codes of a first certificate, [`enrolment_uses`] redeems them.
//! 2. [`directory`]: finds the devices of a whole batch in one query.
//! 3. [`change_feed`]: LISTEN for changes and report which cache entries are stale.
//! 4. [`broker_acl`]: the rows of the broker's access rules.
//! 5. [`bulk_enroll`]: a whole simulated fleet by a few statements.

pub mod audit;
pub(crate) mod broker_acl;
pub(crate) mod bulk_enroll;
pub mod change_feed;
pub(crate) mod device_edit;
pub(crate) mod device_list;
pub(crate) mod device_order;
mod device_refused;
pub(crate) mod devices;
pub(crate) mod directory;
pub(crate) mod enrolment_codes;
pub(crate) mod enrolment_uses;
pub(crate) mod tenants;
