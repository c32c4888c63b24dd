//! The list of refused messages: a page costs what a page holds, whatever is asked for and however
//! many there are.

use sluice::domain::refusal::Reason;
use sluice::domain::time::Timestamp;
use sluice::store::quarantine::cursor::QuarantineCursor;
use sluice::store::quarantine::filter::QuarantineFilter;
use sluice::store::reads::quarantine::{fetch, list};

use super::harness;

/// Events of three days; of one tenant, one device and one reason there are few, and few were
/// replayed.
const EVENTS: &str = "INSERT INTO quarantine_events (id, quarantined_at, received_at, topic, tenant_id, device_id, reason, detail, payload, message_id, replayed_at)
    SELECT gen_random_uuid(), t, t, 't', CASE WHEN n % 9000 = 1 THEN 'rare' ELSE 't' || n % 5 END,
        CASE WHEN n % 9000 = 2 THEN 'lonely' ELSE 'd' || n % 100 END,
        CASE WHEN n % 9000 = 3 THEN 'BAD_TIMESTAMP' ELSE 'BAD_PAYLOAD' END, 'd', '', gen_random_uuid(), CASE WHEN n % 9000 = 4 THEN t END
    FROM (SELECT n, now() - n * interval '4 s' AS t FROM generate_series(1, 60000) n) events;
    ANALYZE quarantine_events";

/// Rows that were looked at, over all partitions.
const LOOKED_AT: &str = "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_user_tables WHERE relname LIKE 'quarantine_events_%'";

const PAGE: u32 = 20;

fn filters() -> Vec<QuarantineFilter> {
    let all = QuarantineFilter::default;
    let before_yesterday: Timestamp = sluice::clock::now().plus_seconds(-90_000);
    vec![
        all(),
        QuarantineFilter { tenant: Some("t3".into()), ..all() },
        QuarantineFilter { tenant: Some("rare".into()), ..all() },
        QuarantineFilter { device: Some("lonely".into()), ..all() },
        QuarantineFilter { tenant: Some("t3".into()), device: Some("d13".into()), ..all() },
        QuarantineFilter { reason: Some(Reason::BadPayload), ..all() },
        QuarantineFilter { reason: Some(Reason::BadTimestamp), ..all() },
        QuarantineFilter { reason: Some(Reason::RateLimited), ..all() },
        QuarantineFilter { tenant: Some("t3".into()), reason: Some(Reason::BadTimestamp), ..all() },
        QuarantineFilter { replayed: Some(true), ..all() },
        QuarantineFilter { replayed: Some(false), ..all() },
        QuarantineFilter { since: Some(before_yesterday), ..all() },
        QuarantineFilter { until: Some(before_yesterday), ..all() },
    ]
}

#[tokio::test]
async fn a_page_of_the_quarantine_costs_a_page_whatever_is_asked_for() {
    let harness = harness().await;
    harness.database.query(EVENTS);
    harness.database.query("SELECT pg_stat_reset()");
    let pool = harness.store.pool();
    let filters = filters();
    for filter in &filters {
        let page = list(pool, filter, None, PAGE).await.unwrap();
        let places: Vec<(Timestamp, uuid::Uuid)> =
            page.iter().map(|event| (event.place().at, event.id)).collect();
        assert!(places.is_sorted_by(|one, next| one > next), "{filter:?}");
        if let Some(&(at, id)) = places.get(4) {
            let next = list(pool, filter, Some(QuarantineCursor { at, id }), PAGE).await.unwrap();
            let again: Vec<_> = next.iter().map(|event| (event.place().at, event.id)).collect();
            assert_eq!(again[..places.len() - 5], places[5..], "{filter:?}");
        }
        fetch(pool, filter, None, PAGE).await.unwrap();
    }
    harness.store.close().await;
    // A session reports its statistics when it ends.
    let looked_at = crate::support::wait::for_some("the statistics are there", || {
        harness.database.value(LOOKED_AT).parse::<u64>().ok().filter(|rows| *rows > 0)
    });
    println!("{looked_at} rows for {} questions", 3 * filters.len());
    assert!(looked_at < 30_000, "{looked_at}");
}
