//! Simulated fleets. In reading order: [`fleet`] is the devices, [`demo`] is `sluice demo`,
//! [`load`] is `sluice simulate`.
//!
//! [`daemon_metrics`] reads the daemon's figures, [`wait_for_crl`] waits for the broker. The
//! simulator uses the daemon from outside only: by MQTT, SQL and HTTP, as a device and an operator
//! do.

pub(crate) mod daemon_metrics;
pub(crate) mod demo;
pub(crate) mod fleet;
pub(crate) mod load;
pub(crate) mod wait_for_crl;
