//! The identity of a device in a certificate: the common name in two forms, and the URN. It reads
//! no certificate.
//!
//! `<tenant>/device/<device>` is the strict common name, `<tenant>/<device>` the older, plain one;
//! no name holds a `/`, so the forms cannot be confused. The URN is `urn:sluice:<tenant>:<device>`;
//! a `:` within a name is written `%3A` there, and no name holds a `%`, so one URN names one device
//! and one device has one URN.

use crate::config::sections::certificates::CnFormat;
use crate::domain::ids::{DeviceKey, IdError, MAX_COMMON_NAME_LEN};

const URN_PREFIX: &str = "urn:sluice:";
const COLON: &str = "%3A";

/// The identity is too long for a common name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the common name of its certificate, {name}, would have {} characters, and X.509 allows \
     {MAX_COMMON_NAME_LEN}: shorten the id of the tenant or of the device by {}",
    name.len(),
    name.len().saturating_sub(MAX_COMMON_NAME_LEN)
)]
pub struct IdentityTooLong {
    /// The common name that is too long.
    pub name: String,
}

/// The common name of a device.
pub fn common_name(device: &DeviceKey, format: CnFormat) -> Result<String, IdentityTooLong> {
    let name = match format {
        CnFormat::Strict => device.identity().to_owned(),
        CnFormat::Plain => format!("{}/{}", device.tenant(), device.device()),
    };
    // All characters of a name are ASCII: bytes are characters.
    if name.len() > MAX_COMMON_NAME_LEN { Err(IdentityTooLong { name }) } else { Ok(name) }
}

/// Parses a common name of either form.
pub fn read_common_name(name: &str) -> Result<DeviceKey, IdError> {
    DeviceKey::of_common_name(name)
}

/// The URN of a device.
pub fn urn(device: &DeviceKey) -> String {
    let escaped = |name: &str| name.replace(':', COLON);
    format!("{URN_PREFIX}{}:{}", escaped(device.tenant()), escaped(device.device()))
}

/// Whether a URI has the prefix of a device URN.
pub fn is_urn(uri: &str) -> bool {
    uri.get(..URN_PREFIX.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(URN_PREFIX))
}

/// Parses a URN in the form that [`urn`] writes.
pub fn read_urn(urn: &str) -> Result<DeviceKey, IdError> {
    let names = urn.strip_prefix(URN_PREFIX).ok_or(IdError::NotAnIdentity)?;
    let (tenant, device) = names.split_once(':').ok_or(IdError::NotAnIdentity)?;
    if device.contains(':') {
        return Err(IdError::NotAnIdentity);
    }
    DeviceKey::new(&tenant.replace(COLON, ":"), &device.replace(COLON, ":"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn device() -> impl Strategy<Value = DeviceKey> {
        ("[A-Za-z0-9._:-]{1,28}", "[A-Za-z0-9._:-]{1,28}")
            .prop_map(|(t, d)| DeviceKey::new(&t, &d).unwrap())
    }

    proptest! {
        #[test]
        fn both_common_names_and_the_urn_read_back_as_the_device(device in device()) {
            for format in [CnFormat::Strict, CnFormat::Plain] {
                prop_assert_eq!(read_common_name(&common_name(&device, format).unwrap()), Ok(device.clone()));
            }
            prop_assert_eq!(read_urn(&urn(&device)), Ok(device.clone()));
        }

        #[test]
        fn two_devices_never_share_a_name(one in device(), other in device()) {
            prop_assume!(one != other);
            prop_assert_ne!(urn(&one), urn(&other));
            let names = |device| [CnFormat::Strict, CnFormat::Plain].map(|format| common_name(device, format).unwrap());
            prop_assert!(names(&one).iter().all(|name| !names(&other).contains(name)));
        }

        #[test]
        fn no_text_names_a_device_by_accident(text in "\\PC{0,40}") {
            if let Ok(device) = read_common_name(&text) {
                let names = [CnFormat::Strict, CnFormat::Plain].map(|format| common_name(&device, format).unwrap());
                prop_assert!(names.contains(&text));
            }
            if let Ok(device) = read_urn(&text) {
                prop_assert_eq!(urn(&device), text);
            }
        }
    }

    #[test]
    fn a_colon_within_a_name_is_not_the_one_between_names() {
        let (left, right) =
            (DeviceKey::new("a:b", "c").unwrap(), DeviceKey::new("a", "b:c").unwrap());
        assert_eq!(urn(&left), "urn:sluice:a%3Ab:c");
        assert_eq!(urn(&right), "urn:sluice:a:b%3Ac");
        for wrong in [
            "urn:sluice:a:b:c",
            "urn:sluice:a",
            "urn:other:a:b",
            "urn:sluice::b",
            "urn:sluice:a%2Fb:c",
        ] {
            assert!(read_urn(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_the_grammar_forbids_names_no_device() {
        for wrong in [
            "",
            "a",
            "a/",
            "/a",
            "+/+",
            "t/#",
            "a/device/",
            "a/device/b/c",
            "a/b/c",
            "a\0/b",
            "a b/c",
            "$SYS/b ",
        ] {
            assert!(read_common_name(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_common_name_of_sixty_four_characters_fits_and_one_more_does_not() {
        let device = |length| DeviceKey::new("acme", &"d".repeat(length)).unwrap();
        assert_eq!(common_name(&device(52), CnFormat::Strict).unwrap().len(), 64);
        let refused = common_name(&device(53), CnFormat::Strict).unwrap_err().to_string();
        assert!(refused.contains("65 characters") && refused.contains("by 1"), "{refused}");
        assert!(common_name(&device(53), CnFormat::Plain).is_ok());
    }
}
