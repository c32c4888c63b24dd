//! What the commands of devices share: the values of their arguments, and their errors in words.
//!
//! It reads and changes no device.

use serde_json::{Map, Value};

use crate::command::context::outage;
use crate::command::failure::{Exit, Failure};
use crate::domain::device::DeviceStatus;
use crate::registry::devices::DeviceChangeError;
use crate::store::registry::devices::DeviceError;

/// Longest site in characters, as in the API.
const SITE_CHARS: usize = 256;

pub(super) fn explain_change(error: DeviceChangeError) -> Failure {
    match error {
        DeviceChangeError::Store(error) => explain(error),
        DeviceChangeError::Name(error) => Failure::usage(error.to_string()),
        DeviceChangeError::Token(error) => Failure::new(Exit::Internal, error.to_string()),
    }
}

pub(super) fn explain(error: DeviceError) -> Failure {
    let what = error.to_string();
    let advice = match error {
        DeviceError::Outage(trouble) => return outage(&trouble),
        DeviceError::Exists(key) => {
            format!("`sluice device show {} {}` shows it", key.tenant(), key.device())
        }
        DeviceError::NoTenant(tenant) => {
            format!(
                "add it with `sluice tenant add {tenant}`, or find the right name with `sluice tenant list`"
            )
        }
        DeviceError::Raced(_) => "try again".to_owned(),
        DeviceError::MetadataTooLarge(_) | DeviceError::MetadataInvalid(..) => {
            "nothing was changed".to_owned()
        }
        DeviceError::Unaddressable(_) => "choose another name".to_owned(),
        DeviceError::Unknown(key) => {
            format!("`sluice device list --tenant {}` lists its devices", key.tenant())
        }
    };
    Failure::usage(format!("{what}: {advice}"))
}

/// The API's rule. No message can name an empty site.
pub(super) fn read_site(text: &str) -> Result<String, String> {
    let is_good =
        (1..=SITE_CHARS).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    let expected = || {
        format!(
            "expected 1 to {SITE_CHARS} characters, none of them a control character; omit --site for a device without a site"
        )
    };
    is_good.then(|| text.to_owned()).ok_or_else(expected)
}

pub(super) fn read_status(text: &str) -> Result<DeviceStatus, &'static str> {
    DeviceStatus::from_label(&text.to_ascii_uppercase())
        .ok_or("expected ACTIVE, INACTIVE or REVOKED")
}

pub(super) fn read_metadata(text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("expected a JSON object such as {\"model\": \"P7\"}".to_owned()),
        Err(error) => Err(format!("expected a JSON object: {error}")),
    }
}

pub(super) fn yes_or_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_a_name_and_never_empty() {
        assert_eq!(read_site("north"), Ok("north".to_owned()));
        for wrong in [String::new(), "a\nb".to_owned(), "x".repeat(SITE_CHARS + 1)] {
            assert!(read_site(&wrong).is_err(), "{wrong:?}");
        }
    }
}
