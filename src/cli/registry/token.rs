//! A device's token on the command line: created here or read from standard input, never an
//! argument.

use std::io::Read;

use clap::Args;

use crate::command::failure::{Exit, Failure};
use crate::domain::token::{SecretToken, TokenHash};

/// Longest token read from standard input, in bytes.
const TOKEN_MAX: u64 = 1024;

/// Where a device's token comes from; without an option a new one is created.
#[derive(Clone, Copy, Debug, Args)]
pub struct TokenSource {
    /// Read the token from standard input: one line
    #[arg(long, conflicts_with = "no_token")]
    token_stdin: bool,
    /// Store no token: a certificate authenticates the device
    #[arg(long)]
    no_token: bool,
}

/// A token to set on a device.
pub enum TokenArg {
    /// Created here, to be shown once.
    Made(String),
    /// Read from standard input; only its hash is kept.
    Given(TokenHash),
    /// The device has none.
    None,
}

// === impl TokenSource ===

impl TokenSource {
    /// Creates or reads the token; reads standard input only when the arguments ask for it.
    pub fn get(self, input: impl Read) -> Result<TokenArg, Failure> {
        if self.no_token {
            return Ok(TokenArg::None);
        }
        if self.token_stdin {
            return read_token(input).map(TokenArg::Given);
        }
        let token = SecretToken::generate();
        let token = token.map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
        Ok(TokenArg::Made(token.into_text()))
    }
}

// === impl Token ===

impl TokenArg {
    /// The hash that the registry stores; `None` for no token.
    pub fn hash(&self) -> Option<TokenHash> {
        match self {
            Self::Made(token) => Some(TokenHash::of(token)),
            Self::Given(hash) => Some(*hash),
            Self::None => None,
        }
    }
}

// === private helpers ===

/// The one line of the input, without its end.
fn read_token(input: impl Read) -> Result<TokenHash, Failure> {
    let mut text = String::new();
    input.take(TOKEN_MAX + 2).read_to_string(&mut text).map_err(|error| {
        Failure::usage(format!("cannot read the token from standard input: {error}"))
    })?;
    let token = text.strip_suffix('\n').unwrap_or(&text);
    let token = token.strip_suffix('\r').unwrap_or(token);
    if token.is_empty() || token.len() as u64 > TOKEN_MAX || token.chars().any(char::is_control) {
        return Err(Failure::usage(format!(
            "standard input contains no valid token: expected one line of 1 to {TOKEN_MAX} bytes; omit --token-stdin to \
             create a new token"
        )));
    }
    Ok(TokenHash::of(token))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_token_from_standard_input_is_its_one_line() {
        let expected = TokenHash::of("s3cret");
        for input in ["s3cret", "s3cret\n", "s3cret\r\n"] {
            assert_eq!(read_token(input.as_bytes()).unwrap(), expected, "{input:?}");
        }
        let long = "x".repeat(1025);
        for input in ["", "\n", "two\nlines\n", &long] {
            assert_eq!(read_token(input.as_bytes()).unwrap_err().exit, Exit::Usage, "{input:?}");
        }
    }

    #[test]
    fn two_tokens_made_here_are_long_and_never_the_same() {
        let source = TokenSource { token_stdin: false, no_token: false };
        let made = || match source.get(io::empty()).unwrap() {
            TokenArg::Made(token) => token,
            TokenArg::Given(_) | TokenArg::None => panic!("nothing was made"),
        };
        let (first, second) = (made(), made());
        assert_eq!(first.len(), 64);
        assert_ne!(first, second);
    }
}
