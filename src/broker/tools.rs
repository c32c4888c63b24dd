//! Broker connections other than the session; none of them receives a message of the spine.
//!
//! For the operator: [`inspect`] examines the broker through short connections
//! (`inspector_connection`), tries what the daemon publishes (`inspect_writes`) and judges the
//! results (`inspect_findings`); [`version`] reads the broker's version. For revocation: [`certificate_probe`] tests which certificates it accepts,
//! [`isolation_probe`] where a device may publish, [`takeover`] ends a session. For commands and
//! simulations: [`publisher`] and [`fast_publisher`] send messages.

pub(crate) mod certificate_probe;
pub(crate) mod fast_publisher;
pub(crate) mod inspect;
mod inspect_findings;
mod inspect_writes;
mod inspector_connection;
pub(crate) mod isolation_probe;
pub mod publisher;
pub(crate) mod takeover;
pub(crate) mod version;
