//! The broker's hook requests over HTTP: a real daemon, on a raw socket, with the bytes that
//! brokers send.

pub mod devices;
pub mod exchanges;
pub mod faults;
pub mod go_auth;
pub mod guests;
pub mod hooks_daemon;
pub mod names;
pub mod policy;
pub mod sessions;
