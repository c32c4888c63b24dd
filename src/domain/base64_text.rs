//! Base64 with the standard alphabet and padding, as JSON bodies and certificates carry it.
//!
//! It knows no line breaks and no base64url: those are formats of tokens.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Writes bytes as text.
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Reads text; `None` if it is not base64.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_padded_base64_of_the_standard_alphabet_is_read() {
        assert_eq!(decode(&encode(b"\xfb\xff\x00")).as_deref(), Some(&b"\xfb\xff\x00"[..]));
        for wrong in ["%%", "-_8A", "QQ", "Q Q=", "QQ==\n"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }
}
