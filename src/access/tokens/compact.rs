//! Decodes a token in compact form, within bounds: header, claims and signature.
//!
//! It verifies nothing: no field is trusted yet.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::error::TokenError;
use super::keys::Algorithm;

/// The longest token: one with hundreds of groups has a few KiB, and the cost of decoding grows
/// with the length.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The longest name of an algorithm that an error repeats.
const MAX_ALGORITHM_CHARS: usize = 16;

/// A decoded, unverified token.
pub struct CompactToken<'a> {
    /// The signed bytes.
    pub signed: &'a [u8],
    /// The signature.
    pub signature: Vec<u8>,
    /// The algorithm in the header.
    pub algorithm: Algorithm,
    /// The id of the key in the header.
    pub key_id: Option<String>,
    /// The claims.
    pub claims: Map<String, Value>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<IgnoredAny>,
}

// === impl CompactToken ===

impl<'a> CompactToken<'a> {
    /// Decodes a token.
    pub fn read(text: &'a str) -> Result<Self, TokenError> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong { bytes: text.len(), max: MAX_TOKEN_BYTES });
        }
        let (signed, signature) =
            text.rsplit_once('.').ok_or(TokenError::NotAToken("it does not have three parts"))?;
        let (header, claims) =
            signed.split_once('.').ok_or(TokenError::NotAToken("it does not have three parts"))?;
        let header: Header = serde_json::from_slice(&decoded(header)?)
            .map_err(|_| TokenError::NotAToken("its header is not a JSON object with alg"))?;
        if header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        let algorithm = Algorithm::named(&header.alg)
            .ok_or_else(|| TokenError::Algorithm(shown(&header.alg)))?;
        let claims = serde_json::from_slice(&decoded(claims)?)
            .map_err(|_| TokenError::NotAToken("its claims are not a JSON object"))?;
        Ok(Self {
            signed: signed.as_bytes(),
            signature: decoded(signature)?,
            algorithm,
            key_id: header.kid,
            claims,
        })
    }
}

// --- private helpers ---

/// Decodes strict base64url: no padding, no other alphabet, no trailing bits.
fn decoded(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::NotAToken("a part of it is not base64url"))
}

fn shown(name: &str) -> Box<str> {
    let plain = !name.is_empty()
        && name.len() <= MAX_ALGORITHM_CHARS
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if plain { name.into() } else { "something without a known name".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(header: &str, claims: &str) -> TokenError {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        CompactToken::read(&format!("{}.{}.AAAA", part(header), part(claims))).err().unwrap()
    }

    #[test]
    fn what_is_no_token_is_refused_without_being_repeated() {
        for text in [
            "",
            "a",
            "a.b",
            "a.b.c",
            "..",
            "eyJhbGciOiJSUzI1NiJ9.e30=.AAAA",
            "secret.secret.secret",
        ] {
            let refused = CompactToken::read(text).err().unwrap();
            assert!(
                matches!(refused, TokenError::NotAToken(_))
                    && !refused.to_string().contains("secret"),
                "{text}"
            );
        }
        let long = "x".repeat(MAX_TOKEN_BYTES + 1);
        assert_eq!(
            CompactToken::read(&long).err(),
            Some(TokenError::TooLong { bytes: 16_385, max: 16_384 })
        );
        assert!(matches!(refused("[]", "{}"), TokenError::NotAToken(_)));
        assert!(matches!(refused(r#"{"alg":"RS256"}"#, "[]"), TokenError::NotAToken(_)));
        assert!(matches!(refused(r#"{"alg":"RS256","kid":7}"#, "{}"), TokenError::NotAToken(_)));
    }

    #[test]
    fn only_three_algorithms_are_taken_and_no_extension() {
        for alg in ["none", "None", "HS256", "HS512", "RS512", "PS256", "ES384", "rs256"] {
            let refused = refused(&format!(r#"{{"alg":"{alg}"}}"#), "{}");
            assert_eq!(refused, TokenError::Algorithm(alg.into()));
        }
        assert_eq!(
            refused(r#"{"alg":"a\nb"}"#, "{}"),
            TokenError::Algorithm("something without a known name".into())
        );
        assert_eq!(
            refused(r#"{"alg":"RS256","crit":["b64"],"b64":false}"#, "{}"),
            TokenError::Critical
        );
    }
}
