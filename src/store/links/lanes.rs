//! Moves waiting messages to other lanes when the number of lanes of a link has changed, so that all
//! messages of a device stay in one lane.
//!
//! It changes no order: a message keeps its id. A batch that was prepared before the change may commit
//! after it, into the lane of the earlier number. So for some time after a change each look is followed
//! by a look for such rows, which is later than what it found: an older row of a device that is sent
//! next is already in its lane.

use tokio::time::Instant;

use super::outbox::LinkOutbox;
use super::stray_watch::{RecentSender, StrayWatch};
use crate::domain::forwarding::LinkRoutes;
use crate::domain::ids::DeviceKey;
use crate::domain::ports::Outage;
use crate::store::connection::writer_connection::answer;

/// Devices whose messages are moved in one statement.
const DEVICES: usize = 200;

/// Whether the lanes have changed, or a row is in a lane that there is not.
const DIFFERS: &str = "SELECT NOT EXISTS (SELECT FROM link_state WHERE link = $1 AND lanes = $2) \
    OR EXISTS (SELECT FROM link_outbox WHERE link = $1 AND lane >= $2)";

const SENDERS: &str = "SELECT DISTINCT tenant_id, device_id, lane FROM link_outbox WHERE link = $1";

const MOVE: &str = "UPDATE link_outbox o SET lane = g.lane \
    FROM unnest($2::text[], $3::text[], $4::smallint[]) AS g (tenant_id, device_id, lane) \
    WHERE o.link = $1 AND o.tenant_id = g.tenant_id AND o.device_id = g.device_id AND o.lane <> g.lane";

/// Devices with rows above `$2`, with the transactions at that time and the highest id.
const RECENT: &str = "SELECT r.tenant_id, r.device_id, l.lane::smallint AS lane, max(r.id) AS last, \
        (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint) AS oldest_transaction, \
        (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint) AS next_transaction \
    FROM generate_series(0, $3) AS l (lane), LATERAL ( \
        SELECT tenant_id, device_id, id FROM link_outbox \
        WHERE link = $1 AND lane = l.lane::smallint AND id > $2) r \
    GROUP BY r.tenant_id, r.device_id, l.lane";

/// The highest lane of any link.
const LAST_LANE: i32 = 15;

const NOTE: &str = "INSERT INTO link_state (link, lanes) VALUES ($1, $2) \
    ON CONFLICT (link) DO UPDATE SET lanes = excluded.lanes";

// === impl LinkOutbox ===

impl LinkOutbox {
    /// Puts every waiting message into the lane of its device. The sender calls it before its first
    /// [`next`](LinkOutbox::next), while nothing is in flight; without a change it costs one query.
    /// A batch that was prepared with earlier settings may add a row to an earlier lane: the caller
    /// calls again from time to time, while nothing is in flight.
    pub async fn adopt_lanes(&mut self, routes: &LinkRoutes) -> Result<u64, Outage> {
        let lanes = i16::try_from(routes.lanes).unwrap_or(i16::MAX);
        let query = sqlx::query_scalar(DIFFERS).bind(self.link.as_str()).bind(lanes);
        let differs: bool = answer(query.fetch_one(&mut self.session.connection)).await?;
        if !differs {
            return Ok(0);
        }
        self.strays = Some(StrayWatch::begin(Instant::now()));
        let query = sqlx::query_as(SENDERS).bind(self.link.as_str());
        let senders: Vec<(String, String, i16)> =
            answer(query.fetch_all(&mut self.session.connection)).await?;
        let changed = self.move_rows(routes, &senders).await?;
        let query = sqlx::query(NOTE).bind(self.link.as_str()).bind(lanes);
        answer(query.execute(&mut self.session.connection)).await?;
        self.forget_reads();
        Ok(changed)
    }

    /// Moves rows that were put into the lane of earlier settings since the lanes changed; returns
    /// their number. It is called after each look: with 0, no row that the look found has an older one of
    /// its device in another lane.
    pub async fn move_strays(&mut self, routes: &LinkRoutes) -> Result<u64, Outage> {
        let Some(watch) = &self.strays else { return Ok(0) };
        if watch.is_over(Instant::now()) {
            self.strays = None;
            return Ok(0);
        }
        let floor = watch.floor();
        let query = sqlx::query_as(RECENT).bind(self.link.as_str()).bind(floor).bind(LAST_LANE);
        let recent: Vec<RecentSender> =
            answer(query.fetch_all(&mut self.session.connection)).await?;
        if let Some(watch) = &mut self.strays {
            watch.looked(&recent);
        }
        let senders: Vec<_> =
            recent.into_iter().map(|it| (it.tenant_id, it.device_id, it.lane)).collect();
        let moved = self.move_rows(routes, &senders).await?;
        if moved > 0 {
            self.forget_reads();
        }
        Ok(moved)
    }

    async fn move_rows(
        &mut self,
        routes: &LinkRoutes,
        senders: &[(String, String, i16)],
    ) -> Result<u64, Outage> {
        let moves: Vec<(&str, &str, i16)> = senders
            .iter()
            .filter_map(|(tenant, device, lane)| {
                let wanted = routes.lane_of(&DeviceKey::new(tenant, device).ok()?);
                (wanted != *lane).then_some((tenant.as_str(), device.as_str(), wanted))
            })
            .collect();
        let mut changed = 0;
        for part in moves.chunks(DEVICES) {
            let query = sqlx::query(MOVE)
                .bind(self.link.as_str())
                .bind(part.iter().map(|row| row.0).collect::<Vec<&str>>())
                .bind(part.iter().map(|row| row.1).collect::<Vec<&str>>())
                .bind(part.iter().map(|row| row.2).collect::<Vec<i16>>());
            changed += answer(query.execute(&mut self.session.connection)).await?.rows_affected();
        }
        Ok(changed)
    }
}
