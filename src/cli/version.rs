//! The version with the commit and the date of the build.
//!
//! Both come from the environment of the compiler, which `scripts/package` and the image's build set: the
//! sources need no Git directory, and a commit alone compiles nothing again.

use std::fmt::Write as _;
use std::sync::LazyLock;

static LINE: LazyLock<String> =
    LazyLock::new(|| line(option_env!("SLUICE_COMMIT"), option_env!("SLUICE_BUILD_DATE")));

/// What `--version` prints after the name.
pub(super) fn version() -> &'static str {
    &LINE
}

/// An empty text means unknown: a build argument of an image is never unset.
fn line(commit: Option<&str>, date: Option<&str>) -> String {
    let mut line = env!("CARGO_PKG_VERSION").to_owned();
    let parts = [("commit ", commit), ("built ", date)];
    let known =
        parts.iter().filter_map(|(what, value)| Some((what, value.filter(|v| !v.is_empty())?)));
    for (index, (what, value)) in known.enumerate() {
        let _ = write!(line, "{}{what}{value}", if index == 0 { " (" } else { ", " });
    }
    if line.contains('(') {
        line.push(')');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_the_build_follows_the_version() {
        let version = env!("CARGO_PKG_VERSION");
        for (commit, date, after) in [
            (Some("0a1b2c3"), Some("2026-11-29"), " (commit 0a1b2c3, built 2026-11-29)"),
            (None, Some("2026-11-29"), " (built 2026-11-29)"),
            (Some("0a1b2c3"), Some(""), " (commit 0a1b2c3)"),
            (Some(""), None, ""),
        ] {
            assert_eq!(line(commit, date), format!("{version}{after}"));
        }
    }
}
