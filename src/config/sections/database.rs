//! Settings of the connection to Postgres, and of retention.

use crate::config::load::reader::SettingReader;
use crate::config::secret::Secret;
use crate::config::setting::{Setting, SettingKind, SettingRule};

/// Settings of Postgres.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    /// `DATABASE_URL`; `None` means that libpq's `PG*` variables apply.
    pub url: Option<Secret>,
    /// `REGISTRY_URL`; `None` outside a cell.
    pub registry_url: Option<Secret>,
    /// `PG_POOL_MAX`.
    pub pool_max: u32,
    /// `MIGRATE_ON_START`.
    pub migrate_on_start: bool,
    /// `TELEMETRY_RETENTION_DAYS`; `None` keeps all.
    pub telemetry_retention_days: Option<u32>,
    /// `QUARANTINE_RETENTION_DAYS`; `None` keeps all.
    pub quarantine_retention_days: Option<u32>,
    /// `CERTIFICATE_RETENTION_DAYS`; `None` keeps all.
    pub certificate_retention_days: Option<u32>,
    /// `STORE_ENGINE`.
    pub store_engine: ExpectedEngine,
    /// `COLUMNSTORE_AFTER_DAYS`; `None` moves nothing into the columnstore.
    pub columnstore_after_days: Option<u32>,
}

/// The values of `STORE_ENGINE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExpectedEngine {
    /// What the database has.
    #[default]
    Auto,
    /// Postgres, whatever extensions it has.
    Plain,
    /// Postgres with Citus.
    Citus,
    /// Postgres with Timescale.
    Timescale,
}

const ENGINES: &[&str] = &["auto", "plain", "citus", "timescale"];

const URL: SettingKind = SettingKind::Secret(SettingRule {
    allowed: "a URL that begins with postgres:// or postgresql://",
    holds: |text| is_postgres_url(text),
});

/// A URL of Postgres whose login ends where its writer meant: after a slash in a password, an error would
/// name a part of it as the host.
fn is_postgres_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let is_cut = !authority.contains('@') && rest.contains('@');
    matches!(scheme, "postgres" | "postgresql") && !is_cut
}

/// The rows of the settings table.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting::optional(
        "DATABASE_URL",
        URL,
        "The address of Postgres: postgres://user:password@host:port/database. Not set: PGHOST, PGUSER and the other PG* \
         variables apply.",
    ),
    Setting::optional(
        "REGISTRY_URL",
        URL,
        "In a cell: the address of the Postgres with the registry of all cells: postgres://user:password@host:port/database. \
         `sluice cell join` uses it, and the daemon measures with it how far the copy of the registry is behind. Not set: this \
         database is no cell.",
    ),
    Setting::whole(
        "PG_POOL_MAX",
        "8",
        (2, 500),
        "connections",
        "The maximum number of connections to Postgres.",
    ),
    Setting::switch(
        "MIGRATE_ON_START",
        "1",
        "Whether Sluice applies pending migrations of the schema at start.",
    ),
    Setting::whole(
        "TELEMETRY_RETENTION_DAYS",
        "30",
        (0, 36_500),
        "days",
        "How long telemetry is kept. 0 keeps all of it.",
    ),
    Setting::whole(
        "QUARANTINE_RETENTION_DAYS",
        "14",
        (0, 36_500),
        "days",
        "How long refused messages are kept. 0 keeps all of them.",
    ),
    Setting::whole(
        "CERTIFICATE_RETENTION_DAYS",
        "0",
        (0, 36_500),
        "days",
        "How long the row of a certificate is kept after its end, unless it was revoked for cause. 0 keeps all of them.",
    ),
    Setting::with_default(
        "STORE_ENGINE",
        "auto",
        SettingKind::Choice(ENGINES),
        "The engine that Postgres must be. auto: what the database has; plain: Postgres, whatever extensions it has. Without the \
         extension that citus or timescale names, Sluice is not ready.",
    ),
    Setting::whole(
        "COLUMNSTORE_AFTER_DAYS",
        "0",
        (0, 36_500),
        "days",
        "When a day of telemetry moves into the columnstore of Timescale. 0 moves none. `sluice store hypertable --columnstore` \
         prepares the table.",
    ),
];

// === impl DatabaseConfig ===

impl DatabaseConfig {
    pub(crate) fn read(reader: &mut SettingReader) -> Self {
        let mut days = |name| Some(reader.whole(name)).filter(|&days| days > 0);
        let telemetry_retention_days = days("TELEMETRY_RETENTION_DAYS");
        let quarantine_retention_days = days("QUARANTINE_RETENTION_DAYS");
        let certificate_retention_days = days("CERTIFICATE_RETENTION_DAYS");
        let columnstore_after_days = days("COLUMNSTORE_AFTER_DAYS");
        let store_engine = match reader.text("STORE_ENGINE").as_str() {
            "plain" => ExpectedEngine::Plain,
            "citus" => ExpectedEngine::Citus,
            "timescale" => ExpectedEngine::Timescale,
            _ => ExpectedEngine::Auto,
        };
        Self {
            url: reader.secret("DATABASE_URL"),
            registry_url: reader.secret("REGISTRY_URL"),
            pool_max: reader.whole("PG_POOL_MAX"),
            migrate_on_start: reader.switch("MIGRATE_ON_START"),
            telemetry_retention_days,
            quarantine_retention_days,
            certificate_retention_days,
            store_engine,
            columnstore_after_days,
        }
    }
}
