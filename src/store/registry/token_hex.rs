//! The hash of a token as the tables store it: 64 lower hex digits. It never sees a token.

use crate::domain::device::TokenHash;

/// Digits of a hash in the tables.
pub const DIGITS: usize = 64;

const ALPHABET: &[u8; 16] = b"0123456789abcdef";

/// The hash as 64 ASCII digits.
pub fn to_hex(hash: &TokenHash) -> [u8; DIGITS] {
    let mut digits = [0; DIGITS];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(hash.0) {
        pair[0] = ALPHABET[usize::from(byte >> 4)];
        pair[1] = ALPHABET[usize::from(byte & 15)];
    }
    digits
}

/// Parses 64 lower hex digits. `None` means `text` is not that.
pub fn from_hex(text: &str) -> Option<TokenHash> {
    let digits: &[u8; DIGITS] = text.as_bytes().try_into().ok()?;
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(TokenHash(hash))
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_reads_back_as_it_was_written() {
        let hash = TokenHash(std::array::from_fn(|place| u8::try_from(place * 8).unwrap()));
        let text = String::from_utf8(to_hex(&hash).to_vec()).unwrap();
        assert!(text.starts_with("00081018"));
        assert_eq!(from_hex(&text), Some(hash));
        assert_eq!(from_hex(&text.to_uppercase()), None);
        assert_eq!(from_hex(&text[1..]), None);
    }
}
