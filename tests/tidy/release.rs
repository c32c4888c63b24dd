//! One version everywhere: Cargo's packages, the changelog, and what `scripts/package` reads.
//!
//! The packages of Debian and the rpm have no version of their own in the repository: both take Cargo's.

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The version of the first table with one.
fn cargo_version(manifest: &str) -> Option<&str> {
    manifest.lines().find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
}

/// The newest released version of the changelog: its head is `## [1.2.3] - 2026-11-29`.
fn newest_release(changelog: &str) -> Option<&str> {
    let heads = changelog.lines().filter_map(|line| line.strip_prefix("## [")?.split_once(']'));
    heads.map(|(version, _)| version).find(|version| *version != "Unreleased")
}

/// Versions of this product in a chart or a spec that are not `wanted`.
fn other_versions<'a>(text: &'a str, wanted: &str) -> Vec<&'a str> {
    let keys = ["version: ", "appVersion: "];
    let value = |line: &'a str| keys.iter().find_map(|key| line.strip_prefix(key));
    text.lines().filter_map(value).filter(|found| found.trim_matches('"') != wanted).collect()
}

#[test]
fn all_packages_of_cargo_and_the_changelog_have_one_version() {
    let version = env!("CARGO_PKG_VERSION");
    for manifest in ["Cargo.toml", "plugin/mosquitto/Cargo.toml", "plugin/shared/Cargo.toml"] {
        assert_eq!(cargo_version(&read(manifest)), Some(version), "{manifest}");
    }
    // Before the first release there is no entry.
    if let Some(newest) = newest_release(&read("CHANGELOG.md")) {
        assert_eq!(newest, version, "CHANGELOG.md and Cargo.toml");
    }
}

#[test]
fn the_packages_take_their_version_from_cargo() {
    assert!(read("scripts/package").contains("version=$(sed -n '/^\\[package\\]/"));
    for path in ["compose/package/rpm/sluice.spec", "compose/package/debian/control"] {
        let text = read(path);
        assert!(!text.contains(env!("CARGO_PKG_VERSION")), "{path} has a version of its own");
    }
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("compose/helm/sluice/Chart.yaml");
    if chart.exists() {
        let text = fs::read_to_string(chart).unwrap();
        assert_eq!(other_versions(&text, env!("CARGO_PKG_VERSION")), Vec::<&str>::new());
    }
}

#[test]
fn another_version_is_found() {
    assert_eq!(cargo_version("[package]\nversion = \"0.2.0\"\n"), Some("0.2.0"));
    assert_eq!(newest_release("## [Unreleased]\n\n## [0.3.0] - 2026-12-01\n"), Some("0.3.0"));
    assert_eq!(newest_release("## [Unreleased]\n"), None);
    assert_eq!(other_versions("version: 0.1.0\nappVersion: \"0.2.0\"\n", "0.1.0"), ["\"0.2.0\""]);
}
