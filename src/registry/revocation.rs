//! From a revoked row to the proof that the broker enforces it.
//!
//! In reading order: [`publisher`] runs the rounds. [`crl`] makes the list and writes its file.
//! [`enforcement`] notifies the broker through [`broker_reload`], proves the list through
//! [`broker_probe`], and ends live sessions through [`session_endings`]. [`progress`] reports the
//! steps of one revocation. [`isolation`] is apart: it proves that a device can publish only to its
//! own topics.

pub mod broker_probe;
pub mod broker_reload;
pub mod crl;
pub mod enforcement;
pub mod isolation;
pub mod progress;
pub mod publisher;
pub mod session_endings;
