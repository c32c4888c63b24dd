//! The identifiers of certificates: the issuer's serial number, and the fingerprint.
//!
//! It reads no certificate. Each identifier has one text form: lower hex digits, two for each byte,
//! no leading zero bytes in a serial.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::domain::hex;

/// Maximum length of a serial number in RFC 5280, in bytes.
const MAX_SERIAL_BYTES: usize = 20;
/// Random bytes of a generated serial number: 128 bits.
const RANDOM_BYTES: usize = 16;

/// A certificate's serial number: positive, at most 20 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Box<[u8]>);

/// SHA-256 of a certificate's DER.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

/// Why a serial number is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SerialError {
    /// Zero or negative.
    #[error("a serial number must be positive")]
    NotPositive,
    /// More than 20 bytes.
    #[error("a serial number has at most {MAX_SERIAL_BYTES} bytes")]
    TooLong,
    /// Not hex digits.
    #[error("a serial number consists of pairs of hex digits")]
    NotHex,
    /// The random generator of the system failed.
    #[error("the system returned no random numbers for a serial number")]
    NoRandomness,
}

// === impl Serial ===

impl Serial {
    /// Creates one: 128 bits from the random generator of the system.
    pub fn random() -> Result<Self, SerialError> {
        let mut bytes = [0; RANDOM_BYTES];
        getrandom::fill(&mut bytes).map_err(|_| SerialError::NoRandomness)?;
        Self::from_magnitude(&bytes)
    }

    /// From the number's bytes, the most significant first.
    pub fn from_magnitude(bytes: &[u8]) -> Result<Self, SerialError> {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        match bytes.len() - zeros {
            0 => Err(SerialError::NotPositive),
            1..=MAX_SERIAL_BYTES => Ok(Self(bytes[zeros..].into())),
            _ => Err(SerialError::TooLong),
        }
    }

    /// From the content of a DER integer, whose first bit is the sign.
    pub(super) fn from_der_integer(content: &[u8]) -> Result<Self, SerialError> {
        let negative = content.first().is_some_and(|byte| byte & 0x80 != 0);
        if negative { Err(SerialError::NotPositive) } else { Self::from_magnitude(content) }
    }

    /// The number's bytes, the most significant first.
    pub fn magnitude(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Serial {
    type Err = SerialError;

    /// Reads hex digits, of either case.
    fn from_str(hex: &str) -> Result<Self, SerialError> {
        // Checked first: the text is untrusted.
        if hex.len() > 4 * MAX_SERIAL_BYTES {
            return Err(SerialError::TooLong);
        }
        let digits: Option<Vec<u8>> = hex
            .chars()
            .map(|digit| digit.to_digit(16).and_then(|value| value.try_into().ok()))
            .collect();
        let digits = digits.filter(|digits| digits.len() % 2 == 0).ok_or(SerialError::NotHex)?;
        let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        Self::from_magnitude(&bytes)
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

// === impl Fingerprint ===

impl Fingerprint {
    /// The fingerprint of a certificate in DER.
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_serial_number_reads_back_as_it_was_written(bytes in prop::collection::vec(any::<u8>(), 1..=20)) {
            prop_assume!(bytes.iter().any(|byte| *byte != 0));
            let serial = Serial::from_magnitude(&bytes).unwrap();
            prop_assert_eq!(serial.to_string().parse(), Ok(serial.clone()));
            prop_assert_eq!(serial.to_string().to_uppercase().parse(), Ok(serial.clone()));
            // As DER writes it: a zero in front where the first bit would be a sign.
            let der = [&[0][..], serial.magnitude()].concat();
            prop_assert_eq!(Serial::from_der_integer(&der), Ok(serial));
        }
    }

    #[test]
    fn what_is_no_serial_number_is_refused() {
        assert_eq!(Serial::from_magnitude(&[]), Err(SerialError::NotPositive));
        assert_eq!(Serial::from_magnitude(&[0, 0]), Err(SerialError::NotPositive));
        assert_eq!(Serial::from_der_integer(&[0x80]), Err(SerialError::NotPositive));
        assert_eq!(Serial::from_magnitude(&[1; 21]), Err(SerialError::TooLong));
        assert_eq!("abc".parse::<Serial>(), Err(SerialError::NotHex));
        assert_eq!("-1".parse::<Serial>(), Err(SerialError::NotHex));
        assert_eq!("00".repeat(100).parse::<Serial>(), Err(SerialError::TooLong));
    }

    #[test]
    fn a_new_serial_number_is_like_no_other() {
        let (one, other) = (Serial::random().unwrap(), Serial::random().unwrap());
        assert_ne!(one, other);
        assert!(one.magnitude().len() > RANDOM_BYTES - 4, "{one}");
    }
}
