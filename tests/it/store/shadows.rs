//! Desired and reported documents: the difference that Postgres computes is that of an independent
//! reference, and a change takes effect on its version only.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use sluice::store::downlink::shadows::{self, DesiredChange};
use sluice::store::registry::audit::Actor;

use super::{device, harness};

/// Pairs of documents per query, and the number of queries.
const PAIRS: usize = 500;
const QUERIES: u32 = 8;

/// What `reported` lacks of `desired`; `None`: nothing. Written from the rule in the contract.
fn delta(desired: &Value, reported: Option<&Value>) -> Option<Value> {
    match (desired, reported) {
        (Value::Null, None) => None,
        (desired, Some(reported)) if desired == reported => None,
        (Value::Object(desired), Some(Value::Object(reported))) => {
            let members: Map<String, Value> = desired
                .iter()
                .filter_map(|(name, wish)| Some((name.clone(), delta(wish, reported.get(name))?)))
                .collect();
            (!members.is_empty()).then_some(Value::Object(members))
        }
        _ => Some(desired.clone()),
    }
}

/// RFC 7396, as its pseudocode has it.
fn merge(target: Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut target = if let Value::Object(target) = target { target } else { Map::new() };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            let merged = merge(target.remove(name).unwrap_or_default(), value);
            target.insert(name.clone(), merged);
        }
    }
    Value::Object(target)
}

/// Few names and few values, so that documents overlap.
fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3_i64).prop_map(Value::from),
        Just(json!(0.5)),
        "[a\u{e9}\"]{0,2}".prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[abc]", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    });
    prop::collection::btree_map("[abc]", value, 0..4)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}

#[tokio::test]
async fn the_difference_is_that_of_the_reference_and_applying_it_brings_a_device_in_sync() {
    let harness = harness().await;
    let computed = |pairs: &[(Value, Value)]| -> Vec<Option<Value>> {
        let sql = format!(
            "SELECT jsonb_agg(coalesce(sluice_shadow_delta(pair -> 0, pair -> 1), '\"none\"') ORDER BY place)
             FROM jsonb_array_elements($json${}$json$::jsonb) WITH ORDINALITY AS p (pair, place)",
            json!(pairs)
        );
        let found: Vec<Value> = serde_json::from_str(&harness.database.value(&sql)).unwrap();
        found.into_iter().map(|found| (found != "none").then_some(found)).collect()
    };
    let pairs = prop::collection::vec((document(), document()), PAIRS);
    let config = Config { cases: QUERIES, failure_persistence: None, ..Config::default() };
    let checked = TestRunner::new(config).run(&pairs, |pairs| {
        let deltas = computed(&pairs);
        for ((desired, reported), found) in pairs.iter().zip(&deltas) {
            prop_assert_eq!(found, &delta(desired, Some(reported)), "{} {}", desired, reported);
        }
        let applied: Vec<(Value, Value)> = pairs
            .into_iter()
            .zip(deltas)
            .map(|((desired, reported), delta)| {
                let patch = delta.unwrap_or_else(|| json!({}));
                (desired, merge(reported, &patch))
            })
            .collect();
        for ((desired, reported), left) in applied.iter().zip(computed(&applied)) {
            prop_assert_eq!(left, None, "{} {}", desired, reported);
        }
        Ok(())
    });
    checked.unwrap();
}

#[tokio::test]
async fn a_change_takes_effect_on_its_version_only_and_gives_the_next() {
    let harness = harness().await;
    harness.database.query(
        "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'A');
         INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'd0')",
    );
    let (pool, actor) = (harness.store.pool(), Actor::new("test"));
    let set = async |text: Option<&str>, expected: i64| {
        let raw = text.map(|text| RawValue::from_string(text.to_owned()).unwrap());
        let key = device("d0");
        let set = shadows::set_desired(pool, &actor, &key, raw.as_deref(), expected, "shadow.set");
        match set.await.unwrap() {
            DesiredChange::Done(row) => Some(row.desired_version),
            DesiredChange::Raced => None,
        }
    };
    assert_eq!(set(Some(r#"{"a":1}"#), 1).await, None, "there is no version 1");
    assert_eq!(set(Some(r#"{"a":1}"#), 0).await, Some(1));
    assert_eq!(set(Some(r#"{"a":2}"#), 0).await, None);
    assert_eq!(set(Some(r#"{"a":2}"#), 1).await, Some(2));
    assert_eq!(set(Some(r#"{"a":2.0}"#), 2).await, Some(2), "equal content is no change");
    assert_eq!(set(None, 2).await, Some(3));
    assert_eq!(set(Some(r#"{"a":2}"#), 3).await, Some(4));
    let audited = "SELECT detail ->> 'from', detail ->> 'to' FROM audit_log ORDER BY id";
    let steps = [["0", "1"], ["1", "2"], ["2", "3"], ["3", "4"]];
    assert_eq!(harness.database.query(audited), steps);

    let shown = shadows::show(pool, &device("d0")).await.unwrap().unwrap();
    assert!(!shown.in_sync && shown.delta.get() == r#"{"a": 2}"#, "{shown:?}");
    harness.database.query("UPDATE device_state SET reported = '{\"a\": 2.00, \"b\": 3}'");
    let shown = shadows::show(pool, &device("d0")).await.unwrap().unwrap();
    assert!(shown.in_sync && shown.delta.get() == "{}", "{shown:?}");
    harness.database.query("DELETE FROM devices");
    assert!(shadows::show(pool, &device("d0")).await.unwrap().is_none());
    assert_eq!(set(Some("{}"), 5).await, None, "a device that was removed");
}
