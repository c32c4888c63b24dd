//! The schema: migrations, partitions by day, retention, and the checks that readiness and `doctor`
//! show.
//!
//! It never removes a migration and never changes a table that it does not own.
//!
//! Read it in this order:
//! 1. [`migrate`] applies the migrations; [`required_objects`] compares the schema with the list of
//!    required objects.
//! 2. [`day_tables`] reads the partitions of a table; [`partitions`] runs the rounds that create
//!    and drop them; `partition_steps` runs one step; [`partition_report`] is the result.
//!    [`expiry`] deletes rows one by one, [`receipt_index`] completes an index of the partitions.
//! 3. [`retention`] decides whether a round may delete.
//! 4. [`inspect_server`] and [`inspect_schema`] are the checks of `doctor`; [`open_readers`] names roles that
//!    see all tenants.

pub(crate) mod day_tables;
mod expiry;
pub mod inspect_schema;
pub(crate) mod inspect_server;
pub mod migrate;
pub mod open_readers;
pub mod partition_report;
mod partition_steps;
pub mod partitions;
mod receipt_index;
pub mod required_objects;
pub mod retention;
