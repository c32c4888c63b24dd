//! What a search for devices may name: `tenant:acme silent:1h certificate:ending:30d pump-*`.
//!
//! It lists the keys. The store decides what each matches.

use std::fmt;
use std::str::FromStr;

use super::search::{Accepts, Search, SearchError, SearchKey, SearchKeys};

/// The keys of the list of devices.
pub const DEVICE_KEYS: SearchKeys = SearchKeys {
    keys: &[
        SearchKey { name: "tenant", accepts: Accepts::Text, help: "devices of this tenant" },
        SearchKey { name: "site", accepts: Accepts::Text, help: "devices of this site" },
        SearchKey {
            name: "status",
            accepts: Accepts::Words(|| vec!["ACTIVE", "INACTIVE", "REVOKED"]),
            help: "devices with this status",
        },
        SearchKey {
            name: "silent",
            accepts: Accepts::Span,
            help: "devices without an accepted message for this long, also those that never had one",
        },
        SearchKey {
            name: "heard",
            accepts: Accepts::Words(|| vec!["ever", "never"]),
            help: "whether Sluice has ever accepted a message of the device",
        },
        SearchKey {
            name: "certificate",
            accepts: Accepts::WordsAndSpans {
                alone: &["active", "revoked", "expired", "none"],
                with_span: &["ending"],
            },
            help: "the state of the device's certificate; ending:30d: it expires within this span and has no successor",
        },
        SearchKey {
            name: "refused",
            accepts: Accepts::SpanUpTo(24),
            help: "devices with a message in the quarantine that is at most this old; up to 24h",
        },
        SearchKey {
            name: "token",
            accepts: Accepts::Words(|| vec!["yes", "no"]),
            help: "whether the device has a token",
        },
        SearchKey {
            name: "device",
            accepts: Accepts::Text,
            help: "the device of this name; a word without a key means the same",
        },
    ],
    bare: "device",
};

/// A search for devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceSearch(pub Search);

// === impl DeviceSearch ===

impl FromStr for DeviceSearch {
    type Err = SearchError;

    fn from_str(text: &str) -> Result<Self, SearchError> {
        Search::read(text, &DEVICE_KEYS).map(Self)
    }
}

impl fmt::Display for DeviceSearch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
