//! Each option, and what is refused.

use std::time::Duration;

use crate::options::*;

fn read(options: &[(&str, &str)]) -> Result<Options, OptionError> {
    let raw: Vec<RawOption> = options
        .iter()
        .map(|(key, value)| RawOption { key: (*key).into(), value: (*value).into() })
        .collect();
    Options::read(&raw)
}

#[test]
fn without_options_everything_is_denied_until_the_daemon_answers() {
    let options = read(&[]).unwrap();
    assert_eq!(options, Options::default());
    assert_eq!((options.start, options.unknown), (OnStart::Deny, Unknown::Deny));
}

#[test]
fn each_option_is_read() {
    let options = read(&[
        ("socket", "/tmp/s"),
        ("profile", "devices"),
        ("certificate", "off"),
        ("tokens", "off"),
        ("methods", "A,B"),
        ("ask_ms", "80"),
        ("breaker", "3"),
        ("stale_s", "60"),
        ("on_stale", "allow"),
        ("start", "fail"),
        ("wait_ms", "500"),
        ("unknown", "defer"),
        ("bind_session", "false"),
        ("stamp", "off"),
        ("reserved", "reject"),
        ("wills", "pass"),
        ("trust_bridge", "east west"),
    ])
    .unwrap();
    let expected = Options {
        socket: "/tmp/s".into(),
        profile: "devices".into(),
        certificates: false,
        tokens: false,
        methods: vec!["A".into(), "B".into()],
        ask_timeout: Duration::from_millis(80),
        breaker: 3,
        stale_after: Duration::from_mins(1),
        on_stale: OnStale::Allow,
        start: OnStart::Fail,
        start_timeout: Duration::from_millis(500),
        unknown: Unknown::Defer,
        binds_sessions: false,
        stamps: false,
        reserved: Reserved::Reject,
        wills: Wills::Pass,
        trusted_bridges: vec!["east".into(), "west".into()],
    };
    assert_eq!(options, expected);
}

#[test]
fn what_is_misspelled_is_refused_by_name() {
    assert!(matches!(read(&[("sockets", "/tmp/s")]), Err(OptionError::Unknown(_))));
    assert!(matches!(read(&[("stamp", "off"), ("stamp", "on")]), Err(OptionError::Twice(_))));
    for (key, value) in [
        ("socket", "tmp"),
        ("profile", "a b"),
        ("certificate", "yes"),
        ("ask_ms", "0"),
        ("ask_ms", "5000"),
        ("breaker", "x"),
        ("on_stale", "deny"),
        ("wills", ""),
    ] {
        let error = read(&[(key, value)]).unwrap_err().to_string();
        assert!(error.contains(&format!("plugin_opt_{key}")), "{error}");
    }
}
