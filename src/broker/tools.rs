//! Broker connections beside the session; none of them takes a message of the spine.
//!
//! For the operator: [`inspect`] examines the broker through short connections
//! (`inspector_connection`) and judges what it measured (`inspect_findings`); [`version`] reads its version. For revocation:
//! [`certificate_probe`] tests which certificates it accepts, [`isolation_probe`] where a device
//! may publish, [`takeover`] ends a session. For commands and simulations: [`publisher`] and
//! [`fast_publisher`] send messages.

pub mod certificate_probe;
pub mod fast_publisher;
pub mod inspect;
mod inspect_findings;
mod inspector_connection;
pub mod isolation_probe;
pub mod publisher;
pub mod takeover;
pub mod version;
