//! Enrolment over Secure Transport, as devices use it: curl with OpenSSL, and strongSwan's client,
//! which has TLS and HTTP of its own.

pub mod attacks;
pub mod codes;
pub mod enrolled;
pub mod est_daemon;
pub mod files;
pub mod refusals;
pub mod renewal;
pub mod strongswan;
