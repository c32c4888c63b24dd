//! Replicas that come and go: drained, gone, adopted; and a broker whose share groups are none.

mod drained;
mod group;
mod late_row;
mod orphaned;
mod plain_broker;
mod probed;
