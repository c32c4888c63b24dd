//! Tests of the search grammar.

use proptest::prelude::*;

use super::*;
use crate::domain::time::Timestamp;

const KEYS: SearchKeys = SearchKeys {
    keys: &[
        SearchKey { name: "tenant", accepts: Accepts::Text, help: "" },
        SearchKey { name: "device", accepts: Accepts::Text, help: "" },
        SearchKey { name: "silent", accepts: Accepts::Span, help: "" },
        SearchKey { name: "since", accepts: Accepts::Time, help: "" },
        SearchKey { name: "refused", accepts: Accepts::SpanUpTo(24), help: "" },
        SearchKey {
            name: "status",
            accepts: Accepts::Words(|| vec!["ACTIVE", "REVOKED"]),
            help: "",
        },
        SearchKey {
            name: "certificate",
            accepts: Accepts::WordsAndSpans { alone: &["none", "revoked"], with_span: &["ending"] },
            help: "",
        },
    ],
    bare: "device",
};

fn read(text: &str) -> Result<Search, String> {
    Search::read(text, &KEYS).map_err(|error| error.to_string())
}

fn term(key: &'static str, value: SearchValue) -> SearchTerm {
    SearchTerm { key, value, is_negated: false }
}

fn exact(text: &str) -> SearchValue {
    SearchValue::Exact(text.to_owned())
}

#[test]
fn each_kind_of_term_is_read() {
    let search = read(
        " tenant:acme silent:1h -device:pump-7 pump-*  status:active \
        certificate:ending:30d certificate:NONE since:2026-11-21T06:00:00Z since:2h since:2026-11-21 ",
    )
    .unwrap();
    let time = |text: &str| SearchValue::Time(text.parse().unwrap());
    let expected = [
        term("tenant", exact("acme")),
        term("silent", SearchValue::Span(3_600)),
        SearchTerm { is_negated: true, ..term("device", exact("pump-7")) },
        term("device", SearchValue::Prefix("pump-".into())),
        term("status", SearchValue::Word("ACTIVE")),
        term("certificate", SearchValue::WordSpan("ending", 2_592_000)),
        term("certificate", SearchValue::Word("none")),
        term("since", time("2026-11-21T06:00:00Z")),
        term("since", time("2h")),
        term("since", time("2026-11-21T00:00:00Z")),
    ];
    assert_eq!(search.terms(), expected);
    assert!(read("  ").unwrap().is_empty());
}

#[test]
fn quotes_take_a_text_as_it_is() {
    for (text, value) in [
        (r#""aa:bb""#, exact("aa:bb")),
        (r#"device:"hall 7""#, exact("hall 7")),
        (r#"device:"hall "*"#, SearchValue::Prefix("hall ".into())),
        (r#""pump-*""#, exact("pump-*")),
        (r#""a \"b\" \\""#, exact(r#"a "b" \"#)),
        (r#""-x""#, exact("-x")),
        ("device:urn:dev:1", exact("urn:dev:1")),
        ("device:a\"b", exact("a\"b")),
        ("*", SearchValue::Prefix(String::new())),
    ] {
        assert_eq!(read(text).unwrap().terms(), [term("device", value)], "{text}");
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    for (text, says) in [
        ("colour:red", "unknown key `colour`; the keys are"),
        (":x", "unknown key ``"),
        ("silent:soon", "`silent:` expects a span such as 90s, 30m, 2h, 7d, not `soon`"),
        ("silent:4294967295d", "expects a span"),
        ("refused:25h", "`refused:` expects a span of at most 24h, such as 30m or 2h, not `25h`"),
        ("since:4294967295d", "expects a day such as"),
        ("since:2026-11-31", "expects a day such as"),
        ("since:26-11-21", "expects a day such as"),
        ("status:odd", "expects one of ACTIVE, REVOKED, not `odd`"),
        ("status:ACT*", "expects one of ACTIVE, REVOKED, not `ACT*`"),
        ("certificate:ending", "expects one of none, revoked, ending:30d, not `ending`"),
        ("certificate:none:30d", "expects one of"),
        ("tenant:", "`tenant:` has no value"),
        ("tenant: acme", "`tenant:` has no value"),
        ("-", "`-` has no value"),
        (r#"tenant:"""#, "has no value"),
        (r#""a"#, "has no end"),
        (r#""a\"#, "has no end"),
        (r#""a"b"#, "only a space"),
        ("a\u{0}b", "control character"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(says), "{text}: {error}");
    }
    assert!(read(&"x".repeat(MAX_SEARCH_CHARS)).is_ok());
    assert!(read(&"x".repeat(MAX_SEARCH_CHARS + 1)).unwrap_err().contains("1024 characters"));
    assert!(read(&"x ".repeat(MAX_SEARCH_TERMS)).is_ok());
    assert!(read(&"x ".repeat(MAX_SEARCH_TERMS + 1)).unwrap_err().contains("32 terms"));
}

#[test]
fn the_terms_of_one_key_form_a_group() {
    let search = read("tenant:a pump-1 tenant:b -pump-2").unwrap();
    let (a, b, one, two) = (exact("a"), exact("b"), exact("pump-1"), exact("pump-2"));
    let expected = vec![("tenant", vec![&a, &b], vec![]), ("device", vec![&one], vec![&two])];
    assert_eq!(search.groups(), expected);
    assert_eq!(search.only("tenant"), None);
    assert_eq!(search.only("device").as_deref(), Some("pump-1"));
}

#[test]
fn a_link_changes_one_key() {
    let search = read("tenant:a silent:24h pump-1").unwrap();
    assert_eq!(
        search.bound_to("tenant", "b c").to_string(),
        r#"silent:24h device:pump-1 tenant:"b c""#
    );
    assert_eq!(search.without("silent").to_string(), "tenant:a device:pump-1");
    assert_eq!(search.with(term("tenant", exact("a"))), search);
}

fn any_value() -> impl Strategy<Value = (&'static str, SearchValue)> {
    let text = "[a-z0-9:*\"\\\\ <>\u{e9}\u{2003}-]{1,12}";
    prop_oneof![
        text.prop_map(|text| ("device", SearchValue::Exact(text))),
        text.prop_map(|text| ("tenant", SearchValue::Prefix(text))),
        (0..4_000_000_i64).prop_map(|seconds| ("silent", SearchValue::Span(seconds))),
        (0..4_000_000_i64)
            .prop_map(|seconds| ("since", SearchValue::Time(TimeBound::Ago(seconds)))),
        (0..4_000_000_000_000_000_i64).prop_map(|micros| {
            ("since", SearchValue::Time(TimeBound::At(Timestamp::from_micros(micros))))
        }),
        Just(("status", SearchValue::Word("REVOKED"))),
        (0..400_000_i64).prop_map(|span| ("certificate", SearchValue::WordSpan("ending", span))),
    ]
}

proptest! {
    #[test]
    fn a_search_reads_back_as_it_was_written(
        values in prop::collection::vec((any_value(), any::<bool>()), 0..12)
    ) {
        let terms = values.into_iter().map(|((key, value), is_negated)| SearchTerm { key, value, is_negated });
        let search = Search { terms: terms.collect() };
        prop_assert_eq!(read(&search.to_string()), Ok(search));
    }

    #[test]
    fn any_text_is_read_or_refused_and_what_is_read_is_stable(text in "\\PC{0,80}") {
        if let Ok(search) = read(&text) {
            prop_assert_eq!(read(&search.to_string()), Ok(search));
        }
    }
}
