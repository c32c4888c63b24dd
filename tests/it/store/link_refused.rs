//! Dead letters for people, the reports of lanes, a changed number of lanes, and a lost answer.

use sluice::domain::forwarding::LinkRoutes;
use sluice::domain::ids::DeviceKey;
use sluice::domain::outbox::{DeadLetterCause, DeadLetterReason};
use sluice::domain::ports::Sink;
use sluice::store::links::forget::{Forgetting, LinkRemains, forget, would_forget};
use sluice::store::links::known::{
    LaneReport, identity, keep_identity, list_status, list_totals, node, register, report_status,
};
use sluice::store::links::refused::{RefusedFilter, discard_refused, list_refused, retry_refused};
use sluice::store::registry::audit::Actor;

use super::link_outbox::{AMPLE, check_counts, forward, link, numbered, payloads, sender, sink};
use super::{NOON, StoreHarness, add_reading, at, harness};
use crate::support::postgres::Postgres;

fn too_large() -> DeadLetterReason {
    let reason = DeadLetterCause::TooLarge;
    DeadLetterReason { reason, code: None, detail: "too large".to_owned() }
}

#[tokio::test]
async fn dead_letters_are_listed_in_pages_and_put_back_or_discarded() {
    let it = harness().await;
    sink(&it).commit(&mut numbered(0..5, AMPLE)).await.unwrap();
    let mut outbox = sender(&it).await;
    for row in outbox.next(0, &[], 4).await.unwrap() {
        outbox.dead_letter(0, row.id, &too_large()).await.unwrap();
    }
    let (pool, actor) = (it.store.pool(), Actor::new("cli:me"));
    let filter = RefusedFilter { link: Some(link("azure")), ..RefusedFilter::default() };
    let first = list_refused(pool, &filter, None, 3).await.unwrap();
    let place = first[2].place();
    let second = list_refused(pool, &filter, Some(&place), 3).await.unwrap();
    assert_eq!((first.len(), second.len()), (3, 1));
    assert_eq!((second[0].reason.as_str(), second[0].payload_bytes), ("TOO_LARGE", 8));
    let none = RefusedFilter { reason: Some(DeadLetterCause::Expired), ..filter.clone() };
    assert_eq!(discard_refused(pool, &actor, &none, 10).await.unwrap(), 0);
    let one = RefusedFilter { ids: vec![first[0].id], ..filter.clone() };
    assert_eq!(discard_refused(pool, &actor, &one, 10).await.unwrap(), 1);
    assert_eq!(retry_refused(pool, &actor, &filter, 2).await.unwrap(), 2);
    let rows = outbox.next(0, &[], 10).await.unwrap();
    assert_eq!(payloads(&rows), [r#"{"n": 4}"#, r#"{"n": 0}"#, r#"{"n": 1}"#]);
    check_counts(&it);
    assert_eq!(
        it.database.value("SELECT string_agg(action, ' ' ORDER BY id) FROM audit_log"),
        "link.discard-refused link.retry-refused"
    );
    let totals = list_totals(pool).await.unwrap();
    assert_eq!((totals[0].messages, totals[0].refused), (3, 1));
    assert_eq!(totals[0].link, "azure");
}

#[tokio::test]
async fn a_link_is_registered_reports_and_is_forgotten_whole() {
    let it = harness().await;
    let pool = it.store.pool();
    assert_eq!(register(pool, &[link("azure"), link("aws")]).await.unwrap(), 2);
    assert_eq!(register(pool, &[link("azure")]).await.unwrap(), 0, "it is known");
    assert_eq!(node(pool).await.unwrap().len(), 12);
    let report = |state, published| LaneReport {
        link: link("azure"),
        lane: 0,
        replica: "r1".to_owned(),
        state,
        since: at(NOON),
        detail: Some("a\0b".to_owned()),
        advice: None,
        published,
        in_flight: 3,
        rate: Some((2.5, at(NOON))),
    };
    report_status(pool, &report("connecting", 0)).await.unwrap();
    report_status(pool, &report("up", 7)).await.unwrap();
    let status = list_status(pool).await.unwrap();
    assert_eq!((status.len(), status[0].state.as_str(), status[0].published), (1, "up", 7));
    assert!(status[0].is_current);
    assert_eq!(
        (status[0].sent_per_second, status[0].sent_since),
        (Some(2.5), Some(at(NOON).to_utc()))
    );
    keep_identity(pool, &link("aws"), "pool-1", "id-1").await.unwrap();
    assert_eq!(identity(pool, &link("aws"), "pool-1").await.unwrap().as_deref(), Some("id-1"));
    assert_eq!(identity(pool, &link("aws"), "pool-2").await.unwrap(), None);
    let mut sink = sink(&it);
    sink.commit(&mut numbered(0..5, 1)).await.unwrap();
    sink.commit(&mut numbered(5..9, 1)).await.unwrap();
    let (actor, azure) = (Actor::new("cli:me"), link("azure"));
    let reported = Forgetting::Reported("r1".to_owned());
    assert_eq!(forget(pool, &actor, &azure).await.unwrap(), reported);
    it.database.query("UPDATE link_status SET reported_at = now() - interval '2 minutes'");
    let outbox = sender(&it).await;
    assert_eq!(forget(pool, &actor, &azure).await.unwrap(), Forgetting::Claimed);
    drop(outbox);
    let free = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' \
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    crate::support::wait::until("the lock is free", || it.database.value(free) == "0");
    let remains = Forgetting::Done(LinkRemains { messages: 5, gap_messages: 4, refused: 0 });
    assert_eq!(would_forget(pool, &azure).await.unwrap(), remains);
    assert_eq!(it.database.value("SELECT count(*) FROM link_outbox"), "5", "a dry run");
    assert_eq!(forget(pool, &actor, &azure).await.unwrap(), remains);
    assert_eq!(forget(pool, &actor, &azure).await.unwrap(), Forgetting::Unknown);
    let left = list_totals(pool).await.unwrap();
    assert_eq!(left.iter().map(|totals| totals.link.as_str()).collect::<Vec<_>>(), ["aws"]);
    assert!(list_status(pool).await.unwrap().is_empty());
    assert_eq!(it.database.value("SELECT count(*) FROM link_gaps"), "0");
}

#[tokio::test]
async fn with_another_number_of_lanes_each_message_moves_to_the_lane_of_its_device() {
    let it = harness().await;
    let mut sink = sink(&it);
    for number in 0..40 {
        let mut batch = sluice::domain::batch::Batch::default();
        add_reading(
            &mut batch,
            &format!("d{}", number % 8),
            format!("{{\"n\": {number}}}").as_bytes(),
        );
        forward(&mut batch, "azure", AMPLE);
        sink.commit(&mut batch).await.unwrap();
    }
    let mut routes =
        LinkRoutes { link: link("azure"), lanes: 4, backlog_max_bytes: AMPLE, rules: Vec::new() };
    let mut outbox = sender(&it).await;
    assert!(outbox.adopt_lanes(&routes).await.unwrap() > 0);
    assert_eq!(outbox.adopt_lanes(&routes).await.unwrap(), 0, "once");
    for lane in 0..4 {
        let rows = outbox.next(lane, &[], 100).await.unwrap();
        assert!(rows.windows(2).all(|two| two[0].id < two[1].id));
        for row in rows {
            let device = DeviceKey::new(&row.tenant, &row.device).unwrap();
            assert_eq!(routes.lane_of(&device), lane);
        }
    }
    routes.lanes = 1;
    outbox.adopt_lanes(&routes).await.unwrap();
    let all = outbox.next(0, &[], 100).await.unwrap();
    let expected: Vec<String> = (0..40).map(|n| format!("{{\"n\": {n}}}")).collect();
    assert_eq!(payloads(&all), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_lost_answer_nothing_is_queued_twice() {
    for count in [3, 300] {
        let server = Postgres::private();
        let it = StoreHarness::on(&server).await;
        let (said, mut sink, mut batch) =
            it.commit_and_lose_the_answer(sink(&it), numbered(0..count, AMPLE)).await;
        assert_eq!(said.starts_with("WITH gap"), count == 3, "{said}");
        let receipt = sink.commit(&mut batch).await.unwrap();
        assert_eq!((receipt.stored, receipt.duplicates), (0, count.unsigned_abs()));
        assert_eq!(it.database.value("SELECT count(*) FROM link_outbox"), count.to_string());
        check_counts(&it);
    }
}
