//! A message that is read back after a gap is queued in the lane of its device: in another one it
//! would go out beside the newer messages of the device.

use sluice::domain::forwarding::LinkRoutes;
use sluice::domain::ids::DeviceKey;
use sluice::domain::ports::Sink;
use sluice::store::links::gap::RefillStep;

use super::harness;
use super::link_gap::{SMALL, of_device, routes};
use super::link_outbox::{AMPLE, sender, sink};

#[tokio::test]
async fn a_message_that_is_read_back_is_in_the_lane_of_its_device() {
    let it = harness().await;
    let mut sink = sink(&it);
    for number in 0..8 {
        sink.commit(&mut of_device(&format!("r{number}"), 0..10)).await.unwrap();
    }
    let mut outbox = sender(&it).await;
    let rows = outbox.next(0, &[], 1_000).await.unwrap();
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    outbox.finish(0, &ids).await.unwrap();
    let routes = LinkRoutes { lanes: 4, ..routes(AMPLE) };
    while outbox.refill(&routes).await.unwrap() != RefillStep::NoGap {}
    let rows = it.database.query("SELECT tenant_id, device_id, lane FROM link_outbox");
    assert!(rows.len() > usize::try_from(SMALL / 100).unwrap(), "{rows:?}");
    for row in rows {
        let device = DeviceKey::new(&row[0], &row[1]).unwrap();
        assert_eq!(row[2], routes.lane_of(&device).to_string(), "{device:?}");
    }
}
