//! The orders of the list of devices, and a place in it, where the next page begins.
//!
//! It reads no table.

use std::fmt;
use std::str::FromStr;

use crate::domain::ids::DeviceKey;
use crate::domain::time::Timestamp;

/// When a device was last heard, in SQL; never comes first.
pub(super) const HEARD: &str = "coalesce(s.last_seen_at, '-infinity')";

/// How a list is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceSort {
    /// By tenant and name.
    #[default]
    Name,
    /// By the last accepted message: never first, then the oldest.
    LastHeard,
    /// By the last accepted message, the latest first.
    LatestHeard,
}

/// The place of a device in a list. As text `tenant/device`, or with its time
/// `<microseconds>@tenant/device` or `never@tenant/device`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePlace {
    /// The tenant of the device.
    pub tenant: String,
    /// The device.
    pub device: String,
    /// When it was last heard, in a list that is sorted by it.
    #[expect(clippy::option_option, reason = "in another order, never, and a time differ")]
    pub heard: Option<Option<Timestamp>>,
}

/// The text is no [`DevicePlace`], or of a list in another order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected the cursor of an earlier page in the same order, such as acme/pump-1")]
pub struct InvalidPlace;

// === impl DeviceSort ===

impl DeviceSort {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Name, Self::LastHeard, Self::LatestHeard];

    /// The name in the API and on the command line.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::LastHeard => "last_heard",
            Self::LatestHeard => "-last_heard",
        }
    }

    /// The order of that name.
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sort| sort.label() == label)
    }

    /// The order in SQL; `d` is the device, `s` its state.
    pub(super) const fn order(self) -> &'static str {
        match self {
            Self::Name => "d.tenant_id, d.device_id",
            Self::LastHeard => "coalesce(s.last_seen_at, '-infinity'), d.tenant_id, d.device_id",
            Self::LatestHeard => {
                "coalesce(s.last_seen_at, '-infinity') DESC, d.tenant_id DESC, d.device_id DESC"
            }
        }
    }
}

// === impl DevicePlace ===

impl FromStr for DevicePlace {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let (heard, name) = match text.split_once('@') {
            None => (None, text),
            Some(("never", name)) => (Some(None), name),
            Some((micros, name)) => {
                let at = micros.parse().map(Timestamp::from_micros).map_err(|_| InvalidPlace)?;
                (Some(Some(at).filter(|at| at.is_storable())), name)
            }
        };
        let (tenant, device) = name.split_once('/').ok_or(InvalidPlace)?;
        DeviceKey::new(tenant, device).map_err(|_| InvalidPlace)?;
        Ok(Self { tenant: tenant.to_owned(), device: device.to_owned(), heard })
    }
}

impl fmt::Display for DevicePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.heard {
            None => {}
            Some(None) => f.write_str("never@")?,
            Some(Some(at)) => write!(f, "{}@", at.micros())?,
        }
        write!(f, "{}/{}", self.tenant, self.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_as_it_was_written() {
        for heard in [None, Some(None), Some(Some(Timestamp::from_micros(-7)))] {
            let place = DevicePlace { tenant: "acme".into(), device: "urn:pump-1".into(), heard };
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        for wrong in ["", "acme", "x@acme/pump", "never@acme", "1@2@acme/pump", "acme/a/b"] {
            assert_eq!(wrong.parse::<DevicePlace>(), Err(InvalidPlace), "{wrong}");
        }
    }
}
