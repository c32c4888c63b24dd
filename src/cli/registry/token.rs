//! A device's token on the command line: created here or read from standard input, never an
//! argument.

use std::io::Read;

use clap::Args;

use crate::command::failure::Failure;
use crate::domain::token::TokenHash;
use crate::registry::devices::TokenChoice;

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

// === impl TokenSource ===

impl TokenSource {
    /// The token that the arguments choose; reads standard input only when they ask for it.
    pub fn choose(self, input: impl Read) -> Result<TokenChoice, Failure> {
        if self.no_token {
            return Ok(TokenChoice::None);
        }
        if self.token_stdin {
            return read_token(input).map(TokenChoice::Given);
        }
        Ok(TokenChoice::Make)
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
    use super::*;
    use crate::command::failure::Exit;

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
    fn a_token_is_made_unless_another_is_given_or_none_is_wanted() {
        let choose = |token_stdin, no_token| {
            TokenSource { token_stdin, no_token }.choose("s3cret".as_bytes()).unwrap()
        };
        assert!(matches!(choose(false, false), TokenChoice::Make));
        assert!(matches!(choose(false, true), TokenChoice::None));
        assert!(matches!(choose(true, false), TokenChoice::Given(hash) if hash.matches("s3cret")));
    }
}
