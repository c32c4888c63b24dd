//! One message from the broker to the table: rules, oddities, floods, partitions, replicas, the end
//! of the daemon.

pub mod changes;
pub mod fixture;
pub mod flood;
pub mod growth;
pub mod lanes;
pub mod listen;
pub mod oddities;
pub mod partitions;
pub mod replicas;
pub mod rules;
pub mod stopping;
