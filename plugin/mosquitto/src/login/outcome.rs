//! What a login leads to.

use std::ffi::CString;

use sluice_shared::time::Timestamp;

use crate::registry::Fingerprint;
use crate::sessions::Holder;

/// Why a login is refused, for the log of the broker.
pub(crate) enum Refusal {
    Denied(String),
    Unavailable(&'static str),
    UnknownMethod,
    /// The answer comes later.
    Delayed,
    /// The broker's password file decides.
    Deferred,
}

/// Who a login is.
pub(crate) struct Accepted {
    pub(crate) holder: Holder,
    pub(crate) identity: CString,
    pub(crate) fingerprint: Option<Fingerprint>,
    pub(crate) until: Option<Timestamp>,
    /// The user name that the broker shall use.
    pub(crate) username: Option<CString>,
}
