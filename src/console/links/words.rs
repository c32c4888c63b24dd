//! Addresses of links, and their numbers as a person reads them.
//!
//! It reads nothing.

use crate::console::query::segment;

pub(super) const PATH: &str = "/console/links";

/// The address of the page of a link.
pub(super) fn href(name: &str) -> String {
    format!("{PATH}/{}", segment(name))
}

/// The address of a link in the API.
pub(super) fn target(name: &str) -> String {
    format!("/api/v1/links/{}", segment(name))
}

/// The tone of a state.
pub(super) fn tone_of(state: &str) -> &'static str {
    match state {
        "up" => "ok",
        "standby" | "connecting" => "info",
        "throttled" | "unknown" => "warn",
        _ => "bad",
    }
}

/// Messages a second, as a person reads them.
pub(super) fn rate(per_second: Option<f64>) -> String {
    per_second.map_or_else(|| "–".to_owned(), |rate| format!("{rate:.1}/s"))
}

/// Bytes in the unit that fits.
pub(super) fn bytes(number: i64) -> String {
    const UNITS: [(i64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    for (size, unit) in UNITS {
        if number >= size {
            let tenths = number / (size / 10).max(1);
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{number} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_the_unit_that_fits() {
        for (number, text) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB")]
        {
            assert_eq!(bytes(number), text);
        }
    }
}
