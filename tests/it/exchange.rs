//! The exchange: requests in, messages out, on a connection beside the session. Against a real
//! Mosquitto, and against a scripted peer for what Mosquitto never does.

mod daemon;
mod exchange_harness;
mod faults;
mod logins;
mod published;
mod refused;
mod requested;
