//! Moves waiting messages to other lanes when the number of lanes of a link has changed, so that all
//! messages of a device stay in one lane.
//!
//! It changes no order: a message keeps its id.

use super::outbox::LinkOutbox;
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
        let query = sqlx::query_as(SENDERS).bind(self.link.as_str());
        let senders: Vec<(String, String, i16)> =
            answer(query.fetch_all(&mut self.session.connection)).await?;
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
        let query = sqlx::query(NOTE).bind(self.link.as_str()).bind(lanes);
        answer(query.execute(&mut self.session.connection)).await?;
        self.forget_reads();
        Ok(changed)
    }
}
