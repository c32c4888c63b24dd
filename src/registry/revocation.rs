//! From a revoked row to its proof at the broker: the CRL is made ([`crl`]) and published ([`publisher`]), the broker reloads it
//! ([`broker_reload`]), live sessions end ([`enforcement`]), a probe proves it ([`broker_probe`]), and each step is recorded
//! ([`progress`]).

pub mod broker_probe;
pub mod broker_reload;
pub mod crl;
pub mod enforcement;
pub mod isolation;
pub mod progress;
pub mod publisher;
pub mod session_endings;
