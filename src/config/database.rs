//! Where Postgres is and what is kept there for how long.

use super::secret::Secret;

/// Postgres' settings.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    /// `DATABASE_URL`; without it libpq's `PG*` variables speak.
    pub url: Option<Secret>,
    /// `PG_POOL_MAX`.
    pub pool_max: u32,
    /// `MIGRATE_ON_START`.
    pub migrate_on_start: bool,
    /// `TELEMETRY_RETENTION_DAYS`; none keeps all.
    pub telemetry_retention_days: Option<u32>,
    /// `QUARANTINE_RETENTION_DAYS`; none keeps all.
    pub quarantine_retention_days: Option<u32>,
}
