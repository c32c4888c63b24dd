//! From a revoked row to the proof that the broker enforces it.
//!
//! In reading order: [`publisher`] runs the rounds. [`crl`] makes the list and writes its file.
//! [`enforcement`] notifies the broker through [`broker_reload`], proves the list through
//! [`broker_probe`], and ends live sessions through [`session_endings`]. [`progress`] reports the
//! steps of one revocation. [`isolation`] is apart: it proves that a device can publish only to its
//! own topics.

pub(crate) mod broker_probe;
pub(crate) mod broker_reload;
pub(crate) mod crl;
pub(crate) mod enforcement;
pub(crate) mod isolation;
pub(crate) mod progress;
pub(crate) mod publisher;
pub(crate) mod session_endings;
