//! What `check` adds to a file without faults: warnings, and the files that it names. And that no file
//! brings the reader down.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::tests::{AWS, CERTIFICATE, GRID, JWT, MQTT, link};
use super::*;
use crate::link::settings::LinkSet;

fn warnings_of(parts: &[&str]) -> Vec<String> {
    let set = LinkSet { node: None, links: vec![link(parts)] };
    warnings::warnings(&set).iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    let publish = "publish = [{ from = '#', to = 'a' }]\n";
    for (parts, expected) in [
        (&[&AWS.replace("-ats", ""), CERTIFICATE, publish][..], "link.x.host: this endpoint has"),
        (
            &[&GRID.replace("n.r.ts.eventgrid.azure.net", "mqtt.example.org"), JWT, publish],
            "link.x.host: \"mqtt.example.org\" is no host of Event Grid",
        ),
        (
            &[GRID, &JWT.replace("issuer = 'i'", ""), publish],
            "link.x.issuer: it is not set, and Event Grid refuses",
        ),
        (&[AWS, "auth = 'none'\n", publish], "link.x.auth: AWS IoT Core takes \"certificate\""),
        (
            &[AWS, CERTIFICATE, "transport = 'wss'\n", publish],
            "link.x.transport: AWS IoT Core takes no client certificate",
        ),
        (
            &[AWS, "auth = 'sigv4'\nregion = 'us-east-1'\n", publish],
            "link.x.region: the host is in eu-west-1",
        ),
        (
            &[MQTT, "publish = [{ from = '#', to = 'a' }, { from = '#', to = 'b' }]"],
            "link.x.publish: publish[1] is never used: publish[0] has the same from",
        ),
        (&[MQTT], "link.x: it has neither publish nor ingest"),
    ] {
        let found = warnings_of(parts);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{expected}\n{found:?}");
    }
    assert!(warnings_of(&[MQTT, publish]).is_empty());
    let local = AWS.replace("x-ats.iot.eu-west-1.amazonaws.com", "127.0.0.1");
    assert!(warnings_of(&[&local, "auth = 'none'\n", publish]).is_empty());
}

#[test]
fn the_files_that_links_name_are_checked_only_on_request() {
    let directory = tempfile::tempdir().unwrap();
    let [file, key] = ["links.toml", "x.key"].map(|name| directory.path().join(name));
    let text = format!("[link.x]\n{GRID}{JWT}").replace("'/k'", &format!("{key:?}"));
    fs::write(&file, text).unwrap();
    assert!(load(&file).is_ok(), "the key may be mounted later");
    let missing = check(&file).unwrap_err().to_string();
    assert!(
        missing.contains("link.x.key: ") && missing.contains("cannot read the file"),
        "{missing}"
    );
    fs::write(&key, "k").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let open = check(&file).unwrap_err().to_string();
    assert!(open.contains("(mode 0640): run chmod 0600"), "{open}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(check(&file).unwrap().set.links.len(), 1);
    fs::write(&key, "").unwrap();
    let empty = check(&file).unwrap_err().to_string();
    assert!(empty.contains("link.x.key: ") && empty.contains("the file is empty"), "{empty}");
    let absent = load(&directory.path().join("none.toml")).unwrap_err().to_string();
    assert!(
        absent.starts_with("reading the links file") && absent.contains("none.toml"),
        "{absent}"
    );
    fs::write(&file, " ".repeat(usize::try_from(MAX_FILE_BYTES).unwrap() + 1)).unwrap();
    assert!(load(&file).unwrap_err().to_string().contains("longer than 1048576 bytes"));
}

/// A value of any type, as TOML.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("true".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        Just("1.5".to_owned()),
        Just("2026-01-01".to_owned()),
        "[a-z0-9+#/{}$.:-]{0,12}".prop_map(|text| format!("{text:?}")),
        "[0-9]{1,20}(s|m|h|d|KiB|MiB|B)".prop_map(|text| format!("{text:?}")),
        prop::sample::select(vec![
            "'event-grid'",
            "'aws-iot'",
            "'mqtt'",
            "'jwt'",
            "'cognito'",
            "'sigv4'",
            "'wss'",
            "'tcp'",
            "'localhost'",
            "'tenant/+/device/+/#'",
            "'a/{device}/{type}'",
            "'{1}'",
            "'public/#'",
            "''",
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(2, 12, 4, |inner| {
        let name = prop::sample::select(
            keys::PUBLISH.iter().chain(keys::INGEST).map(|key| key.name).collect::<Vec<_>>(),
        );
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3)
                .prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::btree_map(name, inner, 0..5).prop_map(|entries| {
                let entries: Vec<_> =
                    entries.iter().map(|(name, value)| format!("{name} = {value}")).collect();
                format!("{{ {} }}", entries.join(", "))
            }),
        ]
    })
}

proptest! {
    /// Whatever stands in the file, there are links or there are faults, and every set of links can be
    /// doubted and planned.
    #[test]
    fn no_file_brings_it_down(
        text in "\\PC{0,60}",
        entries in prop::collection::btree_map(
            prop::sample::select(keys::LINK.iter().map(|key| key.name).collect::<Vec<_>>()), value(), 0..12),
        rules in prop::collection::vec(value(), 0..3),
    ) {
        let _ = parse(&text);
        let mut table = String::new();
        for (name, value) in &entries {
            let _ = writeln!(table, "{name} = {value}");
        }
        if !entries.contains_key("publish") {
            let _ = writeln!(table, "publish = [{}]", rules.join(", "));
        }
        match parse(&format!("[link.x]\n{table}")) {
            Ok(set) => {
                drop((set.plan(), warnings::warnings(&set), named_files::faults(&set)));
            }
            Err(faults) => prop_assert!(!faults.is_empty()),
        }
    }
}
