//! Reads this machine's clock and Postgres' clock at one moment.
//!
//! It judges nothing and caches nothing: a clock may jump, so a caller that acts on the time reads
//! it again.

use sqlx::{PgConnection, PgPool};

use super::writer_connection::answer;
use crate::domain::clocks::Clocks;
use crate::domain::ports::Outage;
use crate::domain::time::{Clock, Timestamp};
use crate::store::error::StoreError;

/// A round trip longer than this, in seconds, is too inexact for an offset.
const MAX_TRIP_SECONDS: f64 = 10.0;

/// Reads both clocks; this machine's time is the middle of the round trip.
pub async fn read(connection: &mut PgConnection, clock: Clock) -> Result<Clocks, StoreError> {
    let sent = clock();
    let query = sqlx::query_scalar("SELECT clock_timestamp()");
    let database: chrono::DateTime<chrono::Utc> = answer(query.fetch_one(connection)).await?;
    between(sent, database.into(), clock())
}

/// Like [`read`], on a connection of the pool.
pub async fn read_once(pool: &PgPool, clock: Clock) -> Result<Clocks, Outage> {
    let mut connection = pool.acquire().await.map_err(StoreError::from)?;
    Ok(read(&mut connection, clock).await?)
}

/// The pair of readings, for a query that was sent at `sent` and answered at `answered` by this
/// machine's clock.
pub fn between(
    sent: Timestamp,
    database: Timestamp,
    answered: Timestamp,
) -> Result<Clocks, StoreError> {
    let trip = answered.seconds_since(sent);
    if !(0.0..=MAX_TRIP_SECONDS).contains(&trip) {
        let why = "cannot compare the clocks: this machine's clock was set, or Postgres answered \
            too slowly; Sluice compares them again";
        return Err(StoreError::Outage(why.into()));
    }
    let own = Timestamp::from_micros(sent.micros().midpoint(answered.micros()));
    Ok(Clocks { own, database })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_counts_at_the_middle_of_its_trip_and_not_at_all_when_that_was_long() {
        let at = |seconds| Timestamp::default().plus_seconds(seconds);
        assert_eq!(between(at(10), at(50), at(14)).unwrap().own, at(12));
        assert!(between(at(10), at(50), at(21)).is_err());
        assert!(between(at(10), at(50), at(9)).is_err());
    }
}
