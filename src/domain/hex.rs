//! Bytes as lower-case hex digits, two for each byte.
//!
//! It accepts no upper-case digit, no separator and no odd number of digits.

const ALPHABET: &[u8; 16] = b"0123456789abcdef";

/// The digits of `bytes`.
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|&byte| digits(byte)).map(char::from).collect()
}

/// The two ASCII digits of one byte.
pub const fn digits(byte: u8) -> [u8; 2] {
    [ALPHABET[(byte >> 4) as usize], ALPHABET[(byte & 15) as usize]]
}

/// The bytes of `text`; `None` if `text` does not have exactly `2 * N` lower-case digits.
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

const fn value(digit: u8) -> Option<u8> {
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
    fn every_byte_is_formatted_as_by_std_and_decodes_to_itself() {
        for byte in 0..=u8::MAX {
            let text = encode(&[byte]);
            assert_eq!(text, format!("{byte:02x}"));
            assert_eq!(decode(&text), Some([byte]));
        }
        assert_eq!(encode(&[0x00, 0x08, 0xff]), "0008ff");
        assert_eq!(encode(&[]), "");
    }

    #[test]
    fn other_text_is_not_decoded() {
        for text in ["", "0", "0AFF", "0aF0", "0a g", "0a0", "0a0b0c", "ä0"] {
            assert_eq!(decode::<2>(text), None, "{text}");
        }
        assert_eq!(decode::<2>("0aff"), Some([0x0a, 0xff]));
    }
}
