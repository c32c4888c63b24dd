//! A token in its compact form, taken apart: bounded, decoded, its header read.
//!
//! It verifies nothing: what it says of itself is not true yet.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::error::Refused;
use super::keys::Algorithm;

/// The longest token: those with hundreds of groups have a few KiB, and decoding costs what it is long.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The longest name of an algorithm that is repeated to a person.
const MAX_ALGORITHM_CHARS: usize = 16;

/// A token that nobody has verified.
pub struct Token<'a> {
    /// What the signature is of.
    pub signed: &'a [u8],
    /// The signature.
    pub signature: Vec<u8>,
    /// By what it says it is signed.
    pub algorithm: Algorithm,
    /// By which key it says so.
    pub key_id: Option<String>,
    /// What it claims.
    pub claims: Map<String, Value>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<IgnoredAny>,
}

// === impl Token ===

impl<'a> Token<'a> {
    /// Takes it apart.
    pub fn read(text: &'a str) -> Result<Self, Refused> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err(Refused::TooLong { bytes: text.len(), max: MAX_TOKEN_BYTES });
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Refused::NotAToken("it has no three parts"))?;
        let (header, claims) = signed.split_once('.').ok_or(Refused::NotAToken("it has no three parts"))?;
        let header: Header = serde_json::from_slice(&decoded(header)?)
            .map_err(|_| Refused::NotAToken("its header is no JSON object with alg"))?;
        if header.crit.is_some() {
            return Err(Refused::Critical);
        }
        let algorithm = Algorithm::named(&header.alg).ok_or_else(|| Refused::Algorithm(shown(&header.alg)))?;
        let claims = serde_json::from_slice(&decoded(claims)?)
            .map_err(|_| Refused::NotAToken("its claims are no JSON object"))?;
        Ok(Self { signed: signed.as_bytes(), signature: decoded(signature)?, algorithm, key_id: header.kid, claims })
    }
}

// --- private helpers ---

/// Strict: no padding, no other alphabet, no bits left over.
fn decoded(part: &str) -> Result<Vec<u8>, Refused> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Refused::NotAToken("a part of it is no base64url"))
}

fn shown(name: &str) -> Box<str> {
    let plain =
        !name.is_empty() && name.len() <= MAX_ALGORITHM_CHARS && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if plain { name.into() } else { "something without a known name".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(header: &str, claims: &str) -> Refused {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        Token::read(&format!("{}.{}.AAAA", part(header), part(claims))).err().unwrap()
    }

    #[test]
    fn what_is_no_token_is_refused_without_being_repeated() {
        for text in ["", "a", "a.b", "a.b.c", "..", "eyJhbGciOiJSUzI1NiJ9.e30=.AAAA", "secret.secret.secret"] {
            let refused = Token::read(text).err().unwrap();
            assert!(matches!(refused, Refused::NotAToken(_)) && !refused.to_string().contains("secret"), "{text}");
        }
        let long = "x".repeat(MAX_TOKEN_BYTES + 1);
        assert_eq!(Token::read(&long).err(), Some(Refused::TooLong { bytes: 16_385, max: 16_384 }));
        assert!(matches!(refused("[]", "{}"), Refused::NotAToken(_)));
        assert!(matches!(refused(r#"{"alg":"RS256"}"#, "[]"), Refused::NotAToken(_)));
        assert!(matches!(refused(r#"{"alg":"RS256","kid":7}"#, "{}"), Refused::NotAToken(_)));
    }

    #[test]
    fn only_three_algorithms_are_taken_and_no_extension() {
        for alg in ["none", "None", "HS256", "HS512", "RS512", "PS256", "ES384", "rs256"] {
            let refused = refused(&format!(r#"{{"alg":"{alg}"}}"#), "{}");
            assert_eq!(refused, Refused::Algorithm(alg.into()));
        }
        assert_eq!(refused(r#"{"alg":"a\nb"}"#, "{}"), Refused::Algorithm("something without a known name".into()));
        assert_eq!(refused(r#"{"alg":"RS256","crit":["b64"],"b64":false}"#, "{}"), Refused::Critical);
    }
}
