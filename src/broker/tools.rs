//! Broker connections beside the session: `inspect` and `certificate_probe` look at the broker, `takeover` ends the session
//! of a device, the publishers send what commands and simulations publish.
//!
//! None of them takes a message of the spine.

pub mod certificate_probe;
pub mod fast_publisher;
pub mod inspect;
pub mod isolation_probe;
pub mod publisher;
pub mod takeover;
pub mod version;
