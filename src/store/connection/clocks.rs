//! Reads this machine's clock and Postgres' at one moment.
//!
//! It judges nothing and keeps nothing: a clock may jump, so who acts on the time reads it again.

use sqlx::{PgConnection, PgPool};

use super::writer_connection::answer;
use crate::domain::clocks::Clocks;
use crate::domain::ports::Outage;
use crate::domain::time::{Clock, Timestamp};
use crate::store::error::StoreError;

/// A reading that took longer, in seconds, says too little about the offset.
const MAX_TRIP_SECONDS: f64 = 10.0;

/// Reads both; the moment on this machine is the middle of question and answer.
pub async fn read(connection: &mut PgConnection, clock: Clock) -> Result<Clocks, StoreError> {
    let asked = clock();
    let query = sqlx::query_scalar("SELECT clock_timestamp()");
    let database: chrono::DateTime<chrono::Utc> = answer(query.fetch_one(connection)).await?;
    between(asked, database.into(), clock())
}

/// The same for one who has no connection of its own.
pub async fn read_once(pool: &PgPool, clock: Clock) -> Result<Clocks, Outage> {
    let mut connection = pool.acquire().await.map_err(StoreError::from)?;
    Ok(read(&mut connection, clock).await?)
}

/// The readings, when the clock was asked and answered at these moments of this machine.
pub fn between(asked: Timestamp, database: Timestamp, answered: Timestamp) -> Result<Clocks, StoreError> {
    let trip = answered.seconds_since(asked);
    if !(0.0..=MAX_TRIP_SECONDS).contains(&trip) {
        let why =
            "this machine's clock was set, or Postgres was too slow to compare the clocks; they are compared again";
        return Err(StoreError::Outage(why.into()));
    }
    let own = Timestamp::from_micros(asked.micros().midpoint(answered.micros()));
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
