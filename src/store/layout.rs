//! How `telemetry` lies on Citus and on Timescale: what is there, and the changes that an operator
//! orders.
//!
//! It changes no registry table: those stay on the coordinator. It spreads nothing by itself.
//!
//! Read it in this order:
//! 1. [`change`]: the statements of `sluice store spread` and `sluice store hypertable`, and why they are
//!    refused.
//! 2. [`chunks`]: retention and columnstore of a hypertable.
//! 3. [`shards`]: which node of Citus has which rows; [`open_functions`]: what an engine lets every login
//!    do.
//! 4. [`status`]: what `sluice store status` shows; [`inspect_engine`]: the findings of `doctor`.

pub mod change;
pub(crate) mod chunks;
pub(crate) mod inspect_engine;
pub(crate) mod open_functions;
pub(crate) mod shards;
pub(crate) mod status;
