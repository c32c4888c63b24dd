//! Which filters cover which, by example; `oracle_tests` compares the same with brute force.

use super::filter::TopicFilter;
use super::pattern::{Pattern, PatternError, Values, cover_together};
use crate::subject::{Subject, SubjectKind};

fn covered(patterns: &[&str], requested: &str) -> bool {
    let patterns: Vec<Pattern> =
        patterns.iter().map(|text| Pattern::parse(text).unwrap()).collect();
    let requested = TopicFilter::subscription(requested).unwrap();
    let values = Values::as_written();
    let together = cover_together(&mut patterns.iter().collect(), &requested, &values);
    if let [pattern] = patterns.as_slice() {
        assert_eq!(pattern.covers(&requested, &values), together, "{pattern:?} {requested:?}");
    }
    together
}

#[test]
fn one_filter_holds_another_when_it_matches_all_its_topics() {
    for (pattern, requested) in [
        ("a/#", "a"),
        ("a/#", "a/#"),
        ("a/#", "a/+/c/#"),
        ("#", "#"),
        ("#", "+/b"),
        ("+/#", "#"),
        ("#", "+/#"),
        ("+", "a"),
        ("+/+", "/"),
        ("a/+", "a/"),
        ("$SYS/#", "$SYS/broker/+"),
        ("a/#", "$share/g/a/+"),
    ] {
        assert!(covered(&[pattern], requested), "{pattern} {requested}");
    }
    for (pattern, requested) in [
        ("a/+", "a"),
        ("a/+", "a/#"),
        ("+", "#"),
        ("+/+/#", "#"),
        ("a/+/#", "a/#"),
        ("a/b", "a/+"),
        ("a", "b"),
        ("a", "a/b"),
        ("#", "$SYS/broker"),
        ("+/broker", "$SYS/broker"),
        ("#", "$SYS/#"),
    ] {
        assert!(!covered(&[pattern], requested), "{pattern} {requested}");
    }
}

#[test]
fn several_filters_hold_together_what_none_holds_alone() {
    assert!(covered(&["a", "a/+", "a/+/+/#"], "a/#"));
    assert!(covered(&["+", "+/+/#"], "#"));
    assert!(covered(&["a", "a/+/#"], "a/#"));
    assert!(covered(&["a/b/c", "a/+/c"], "a/+/c"));
    assert!(!covered(&["a/+", "a/+/+/#"], "a/#"), "a itself is missing");
    assert!(!covered(&["a", "a/+", "a/+/+"], "a/#"), "what is deeper is missing");
    assert!(!covered(&["a/x", "a/y"], "a/+"), "other names are missing");
    assert!(!covered(&["+", "$SYS/#", "+/+/#"], "$other"));
}

#[test]
fn two_filters_overlap_when_some_topic_is_matched_by_both() {
    let overlap = |pattern: &str, requested: &str| {
        Pattern::parse(pattern)
            .unwrap()
            .overlaps(&TopicFilter::parse(requested).unwrap(), &Values::as_written())
    };
    for (one, other) in [
        ("a/+/c", "+/b/#"),
        ("a/#", "a"),
        ("#", "+"),
        ("a/+", "+/b"),
        ("+/#", "a"),
        ("$a/+", "$a/#"),
    ] {
        assert!(overlap(one, other) && overlap(other, one), "{one} {other}");
    }
    for (one, other) in [
        ("a/+", "a"),
        ("a/b", "a/c"),
        ("#", "$a/b"),
        ("+/b", "$a/b"),
        ("a/+/c", "a/b"),
        ("+", "+/+"),
    ] {
        assert!(!overlap(one, other) && !overlap(other, one), "{one} {other}");
    }
}

#[test]
fn a_placeholder_is_a_whole_level_and_one_that_is_known() {
    for text in ["{tenant}/{device}/{sub}/{client_id}", "a/{sub}/#"] {
        assert!(Pattern::parse(text).is_ok(), "{text}");
    }
    for text in ["{user}", "x-{sub}", "{sub", "sub}", "{x,y}", "{}", "{{sub}}"] {
        let error = PatternError::Placeholder(text.to_owned());
        assert_eq!(Pattern::parse(&format!("a/{text}")), Err(error));
    }
}

#[test]
fn a_value_that_would_not_stay_within_its_level_opens_nothing_and_is_still_denied() {
    let pattern = Pattern::parse("a/{client_id}/c").unwrap();
    let subject = Subject {
        kind: SubjectKind::User,
        id: "u".into(),
        groups: vec![],
        scopes: vec![],
        expires_at: None,
    };
    for client_id in ["+", "#", "a/b", "b\0", "b+", ""] {
        let values = Values::of(&subject, client_id);
        for requested in ["a/b/c", "a/+/c", "a/#", "a/a/b/c"] {
            let requested = TopicFilter::parse(requested).unwrap();
            assert!(!pattern.covers(&requested, &values), "{client_id:?}");
        }
        assert!(pattern.overlaps(&TopicFilter::parse("a/b/c").unwrap(), &values), "{client_id:?}");
        assert!(!pattern.overlaps(&TopicFilter::parse("a/b/d").unwrap(), &values), "{client_id:?}");
    }
    let top = Pattern::parse("{client_id}/#").unwrap();
    let values = Values::of(&subject, "$SYS");
    let requested = TopicFilter::parse("$SYS/broker").unwrap();
    assert!(!top.covers(&requested, &values) && top.overlaps(&requested, &values));
    let tenants = Pattern::parse("t/{tenant}/#").unwrap();
    let requested = TopicFilter::parse("t/#").unwrap();
    assert!(
        !tenants.covers(&requested, &values) && !tenants.overlaps(&requested, &values),
        "a user has no tenant"
    );
    let deeper = Pattern::parse("t/+/{tenant}").unwrap();
    assert!(!deeper.overlaps(&requested, &values), "nor below what # leaves open");
}
