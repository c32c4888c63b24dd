//! The place of a refused message in the order of time.
//!
//! It reads no table.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::domain::time::Timestamp;

/// The position of an event in time order, where the next page begins. As text
/// `<microseconds>-<id>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuarantineCursor {
    /// When it was quarantined.
    pub at: Timestamp,
    /// Its identifier.
    pub id: Uuid,
}

/// The text is no [`QuarantineCursor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an event cursor, as printed by `sluice quarantine list`")]
pub struct InvalidCursor;

// === impl QuarantineCursor ===

impl fmt::Display for QuarantineCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.at.micros(), self.id.simple())
    }
}

impl FromStr for QuarantineCursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (at, id) = text.rsplit_once('-').ok_or(InvalidCursor)?;
        let at = at.parse().map(Timestamp::from_micros).map_err(|_| InvalidCursor)?;
        Ok(Self { at, id: Uuid::try_parse(id).map_err(|_| InvalidCursor)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_as_it_was_written() {
        for micros in [1_795_000_000_123_456, -5] {
            let place =
                QuarantineCursor { at: Timestamp::from_micros(micros), id: Uuid::from_u128(7) };
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        for wrong in ["", "5", "5-", "-x", "a-00000000000000000000000000000007"] {
            assert_eq!(wrong.parse::<QuarantineCursor>(), Err(InvalidCursor), "{wrong}");
        }
    }
}
