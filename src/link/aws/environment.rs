//! Credentials from the variables that all of AWS' tools read.
//!
//! It reads no file.

use crate::config::secret::Secret;
use crate::domain::time::Timestamp;
use crate::link::aws::signing_keys::AwsCredentials;

/// Reads one variable of the environment.
pub type Lookup = fn(&str) -> Option<String>;

const KEY_ID: &str = "AWS_ACCESS_KEY_ID";
const SECRET_KEY: &str = "AWS_SECRET_ACCESS_KEY";
const SESSION_TOKEN: &str = "AWS_SESSION_TOKEN";

/// The environment has no credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is not set: set {KEY_ID} and {SECRET_KEY}, or name a file with `credentials_file` in the links file"
)]
pub struct NotInEnvironment(&'static str);

/// The variables of this process.
pub fn of_process(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The credentials in the environment. They have no known end.
pub fn read(lookup: Lookup, now: Timestamp) -> Result<AwsCredentials, NotInEnvironment> {
    let filled = |name| lookup(name).map(|text| text.trim().to_owned()).filter(|t| !t.is_empty());
    let required = |name| filled(name).ok_or(NotInEnvironment(name));
    Ok(AwsCredentials {
        access_key_id: required(KEY_ID)?,
        secret: Secret::new(required(SECRET_KEY)?),
        session_token: filled(SESSION_TOKEN).map(Secret::new),
        obtained: now,
        expires: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(0);

    #[test]
    fn key_and_secret_are_needed_and_a_session_token_is_not() {
        let found = read(|name| Some(format!(" {name} ")), NOW).unwrap();
        assert_eq!(found.access_key_id, KEY_ID);
        assert_eq!(found.secret.expose(), SECRET_KEY);
        assert_eq!(found.session_token.unwrap().expose(), SESSION_TOKEN);

        let found = read(|name| (name != SESSION_TOKEN).then(|| "x".to_owned()), NOW).unwrap();
        assert!(found.session_token.is_none());

        let missing = read(|name| (name == KEY_ID).then(|| "x".to_owned()), NOW).unwrap_err();
        assert_eq!(missing, NotInEnvironment(SECRET_KEY));
        let empty = read(|_| Some(String::new()), NOW).unwrap_err();
        assert_eq!(empty, NotInEnvironment(KEY_ID));
    }
}
