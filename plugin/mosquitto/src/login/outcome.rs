//! What a login leads to.

use std::ffi::CString;

use sluice_shared::time::Timestamp;

use crate::registry::Fingerprint;
use crate::sessions::Holder;

/// Why a login is refused, for the log of the broker.
pub(super) enum Refusal {
    Denied(String),
    Unavailable(&'static str),
    UnknownMethod,
    /// The broker's password file decides.
    Deferred,
}

/// Who a login is.
pub(super) struct Accepted {
    pub(super) holder: Holder,
    pub(super) identity: CString,
    pub(super) fingerprint: Option<Fingerprint>,
    pub(super) until: Option<Timestamp>,
    /// The user name that the broker shall use.
    pub(super) username: Option<CString>,
}
