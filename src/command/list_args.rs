//! The arguments of every command that selects rows, with one spelling each: the device, the time
//! range, the page. The API's parameters have the same names.
//!
//! Old spellings are hidden and still work; a note on standard error names the new one. It runs no
//! query.

use std::fmt::Display;
use std::str::FromStr;

use clap::Args;

use super::failure::Failure;
use crate::domain::ids::{DeviceId, DeviceKey, TenantId};
use crate::domain::time::Timestamp;
use crate::domain::time_range::TimeBound;

/// Whose rows to select.
#[derive(Clone, Debug, Args)]
pub struct DeviceFilterArgs {
    /// Only rows of this tenant
    #[arg(long)]
    tenant: Option<TenantId>,
    /// Only rows of this device: its name, or TENANT/DEVICE
    #[arg(long, value_parser = read_device)]
    device: Option<DeviceName>,
}

/// The device or the tenant that a command concerns.
#[derive(Clone, Debug, Args)]
pub struct DeviceOrTenantArgs {
    /// The tenant of the devices, or of the batch
    #[arg(long)]
    tenant: Option<TenantId>,
    /// The device: its name, or TENANT/DEVICE
    #[arg(long, value_parser = read_device)]
    device: Option<DeviceName>,
}

/// Which period to select.
#[derive(Clone, Copy, Debug, Args)]
pub struct RangeArgs {
    /// Only rows from this time on: RFC 3339, or a span before now such as 90s, 30m, 2h, 7d
    #[arg(long, value_name = "TIME")]
    since: Option<TimeBound>,
    /// Only rows before this time, in the same forms
    #[arg(long, value_name = "TIME")]
    until: Option<TimeBound>,
}

/// Which page of a list.
#[derive(Clone, Debug, Args)]
pub struct PageArgs<C>
where
    C: Clone + FromStr + Send + Sync + 'static,
    C::Err: Display,
{
    /// Start after this row: the cursor that the previous page ended with
    #[arg(long, value_parser = read_cursor::<C>)]
    cursor: Option<C>,
    /// Show at most this many rows
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    #[arg(long, hide = true, conflicts_with = "cursor", value_parser = read_cursor::<C>)]
    after: Option<C>,
    #[arg(
        long,
        hide = true,
        conflicts_with_all = ["cursor", "after"],
        value_parser = read_cursor::<C>
    )]
    before: Option<C>,
}

/// The name of a device, with or without its tenant.
#[derive(Clone, Debug)]
struct DeviceName {
    tenant: Option<TenantId>,
    device: DeviceId,
}

// === impl DeviceFilterArgs ===

impl DeviceFilterArgs {
    /// The tenant and the device; two different tenants are an error.
    pub fn names(&self) -> Result<(Option<TenantId>, Option<DeviceId>), Failure> {
        names_of(self.tenant.as_ref(), self.device.as_ref())
    }

    /// The tenant and the device, where a device is known only with its tenant.
    pub fn key(&self) -> Result<(Option<TenantId>, Option<DeviceKey>), Failure> {
        key_of(self.names()?)
    }
}

// === impl DeviceOrTenantArgs ===

impl DeviceOrTenantArgs {
    /// The tenant and the device; a device without its tenant is an error.
    pub fn key(&self) -> Result<(Option<TenantId>, Option<DeviceKey>), Failure> {
        key_of(names_of(self.tenant.as_ref(), self.device.as_ref())?)
    }
}

// === impl RangeArgs ===

impl RangeArgs {
    /// The first time that is selected.
    pub fn since(&self, now: Timestamp) -> Option<Timestamp> {
        self.since.map(|bound| bound.at(now))
    }

    /// The first time that is not selected any more.
    pub fn until(&self, now: Timestamp) -> Option<Timestamp> {
        self.until.map(|bound| bound.at(now))
    }
}

// === impl PageArgs ===

impl<C> PageArgs<C>
where
    C: Clone + FromStr + Send + Sync + 'static,
    C::Err: Display,
{
    /// The cursor. An old spelling is noted on standard error.
    pub fn cursor(&self) -> Option<C> {
        for (name, old) in [("--after", &self.after), ("--before", &self.before)] {
            if old.is_some() {
                super::table::note!("{name} is an old spelling: use --cursor");
                return old.clone();
            }
        }
        self.cursor.clone()
    }

    /// Prints on standard error how to get the next page; a full page may have one.
    pub fn note_next(&self, shown: usize, cursor: Option<impl Display>) {
        if let Some(cursor) = cursor.filter(|_| shown == self.limit as usize) {
            super::table::note!("There may be more rows: add --cursor {cursor}");
        }
    }
}

// === private helpers ===

fn names_of(
    tenant: Option<&TenantId>,
    device: Option<&DeviceName>,
) -> Result<(Option<TenantId>, Option<DeviceId>), Failure> {
    let Some(name) = device else { return Ok((tenant.cloned(), None)) };
    match (tenant, &name.tenant) {
        (Some(tenant), Some(other)) if tenant != other => Err(Failure::usage(format!(
            "--tenant {tenant} and --device {other}/{} name different tenants: leave --tenant out",
            name.device
        ))),
        (tenant, other) => Ok((tenant.or(other.as_ref()).cloned(), Some(name.device.clone()))),
    }
}

fn key_of(
    names: (Option<TenantId>, Option<DeviceId>),
) -> Result<(Option<TenantId>, Option<DeviceKey>), Failure> {
    match names {
        (Some(tenant), Some(device)) => {
            let key = DeviceKey::of(&tenant, &device);
            Ok((Some(tenant), Some(key)))
        }
        (None, Some(device)) => Err(Failure::usage(format!(
            "--device {device} needs its tenant: add --tenant, or write --device TENANT/{device}"
        ))),
        (tenant, None) => Ok((tenant, None)),
    }
}

fn read_cursor<C: FromStr<Err: Display>>(text: &str) -> Result<C, String> {
    text.parse().map_err(|error: C::Err| error.to_string())
}

fn read_device(text: &str) -> Result<DeviceName, String> {
    let (tenant, device) = match text.split_once('/') {
        Some((tenant, device)) => (Some(tenant), device),
        None => (None, text),
    };
    let tenant =
        tenant.map(str::parse::<TenantId>).transpose().map_err(|error| error.to_string())?;
    let device = device.parse::<DeviceId>().map_err(|error| error.to_string())?;
    Ok(DeviceName { tenant, device })
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_795_000_000_000_000);

    fn parse<T: Args>(arguments: &[&str]) -> Result<T, String> {
        let command = T::augment_args(Command::new("list"));
        let matches = command.try_get_matches_from([&["list"], arguments].concat());
        matches.and_then(|matches| T::from_arg_matches(&matches)).map_err(|e| e.to_string())
    }

    fn cursor(arguments: &[&str]) -> Option<DeviceId> {
        parse::<PageArgs<DeviceId>>(arguments).unwrap().cursor()
    }

    #[test]
    fn an_old_spelling_of_the_cursor_still_works_and_is_hidden() {
        assert_eq!(cursor(&[]), None);
        for spelling in ["--cursor", "--after", "--before"] {
            assert_eq!(cursor(&[spelling, "x"]), Some("x".parse().unwrap()), "{spelling}");
        }
        let list = PageArgs::<DeviceId>::augment_args(Command::new("list"));
        let help = list.clone().render_long_help().to_string();
        assert!(!help.contains("--after") && !help.contains("--before"), "{help}");
    }

    #[test]
    fn two_spellings_at_once_are_an_error_that_names_both() {
        for old in ["--after", "--before"] {
            let error = parse::<PageArgs<DeviceId>>(&["--cursor", "a", old, "b"]).unwrap_err();
            assert!(error.contains("--cursor") && error.contains(old), "{error}");
        }
    }

    #[test]
    fn a_cursor_that_cannot_be_read_is_named_with_its_option() {
        let error = parse::<PageArgs<DeviceId>>(&["--cursor", "a/b"]).unwrap_err();
        assert!(error.contains("invalid value 'a/b' for '--cursor <CURSOR>'"), "{error}");
    }

    #[test]
    fn a_range_has_times_or_spans_before_now() {
        let range: RangeArgs =
            parse(&["--since", "2h", "--until", "2026-11-21T06:00:00Z"]).unwrap();
        assert_eq!(range.since(NOW), Some(NOW.plus_seconds(-7_200)));
        assert_eq!(range.until(NOW).unwrap().to_string(), "2026-11-21T06:00:00.000000Z");
        assert!(parse::<RangeArgs>(&["--since", "yesterday"]).unwrap_err().contains("RFC 3339"));
    }

    #[test]
    fn a_device_is_named_with_its_tenant_in_either_form() {
        let key = |arguments: &[&str]| parse::<DeviceFilterArgs>(arguments).unwrap().key();
        let expected = DeviceKey::new("acme", "pump-1").unwrap();
        let forms: [&[&str]; 3] = [
            &["--device", "acme/pump-1"],
            &["--tenant", "acme", "--device", "pump-1"],
            &["--tenant", "acme", "--device", "acme/pump-1"],
        ];
        for form in forms {
            assert_eq!(key(form).unwrap().1.as_ref(), Some(&expected), "{form:?}");
        }
        assert!(key(&["--device", "pump-1"]).unwrap_err().message.contains("add --tenant"));
        let two = key(&["--tenant", "other", "--device", "acme/pump-1"]).unwrap_err();
        assert!(two.message.contains("different tenants"), "{}", two.message);
    }
}
