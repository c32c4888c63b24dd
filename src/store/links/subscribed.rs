//! The filters that the session of a link at the other broker may have.
//!
//! It subscribes to nothing.

use super::outbox::LinkOutbox;
use crate::domain::ports::Outage;
use crate::store::connection::writer_connection::answer;

const NOTE: &str = "INSERT INTO link_state AS s (link, subscribed) VALUES ($1, $2) \
    ON CONFLICT (link) DO UPDATE SET \
        subscribed = ARRAY(SELECT DISTINCT unnest(s.subscribed || excluded.subscribed)) \
    RETURNING subscribed";

const SET: &str = "UPDATE link_state SET subscribed = $2 WHERE link = $1";

// === impl LinkOutbox ===

impl LinkOutbox {
    /// Adds filters, before the link subscribes to them; all that its session may have.
    pub async fn note_filters(&mut self, filters: &[String]) -> Result<Vec<String>, Outage> {
        let query = sqlx::query_scalar(NOTE).bind(self.link.as_str()).bind(filters);
        Ok(answer(query.fetch_one(&mut self.session.connection)).await?)
    }

    /// The session has these filters and no others.
    pub async fn set_filters(&mut self, filters: &[String]) -> Result<(), Outage> {
        let query = sqlx::query(SET).bind(self.link.as_str()).bind(filters);
        answer(query.execute(&mut self.session.connection)).await?;
        Ok(())
    }
}
