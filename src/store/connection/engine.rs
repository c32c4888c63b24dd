//! Which engine this Postgres is: plain, Citus or Timescale, and how `telemetry` lies on it.
//!
//! It changes nothing. `STORE_ENGINE` names the engine that Sluice expects; `auto` takes what is
//! there.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use sqlx::PgConnection;

use crate::config::sections::database::ExpectedEngine;

/// Works on every Postgres: it names no table of an extension.
const EXTENSIONS: &str = "SELECT current_setting('server_version'), \
    (SELECT extversion FROM pg_extension WHERE extname = 'citus'), \
    (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb')";

const IS_DISTRIBUTED: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_dist_partition \
    WHERE logicalrelid = to_regclass('telemetry') AND partmethod = 'h')";

/// A row if `telemetry` is a hypertable: whether it has a columnstore.
const COLUMNSTORE: &str = "SELECT compression_enabled FROM timescaledb_information.hypertables \
    WHERE to_regclass(format('%I.%I', hypertable_schema, hypertable_name)) = to_regclass('telemetry')";

/// The engine, and how telemetry lies on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreEngine {
    /// Which.
    pub kind: EngineKind,
    /// The version of the extension, or of Postgres.
    pub version: String,
    /// How telemetry lies on it.
    pub layout: TelemetryLayout,
}

/// The engines that Sluice knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// Postgres without either extension.
    Plain,
    /// Postgres with Citus.
    Citus,
    /// Postgres with Timescale.
    Timescale,
}

/// How `telemetry` lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TelemetryLayout {
    /// Partitions by day in this Postgres.
    Partitioned,
    /// Partitions by day, each spread over the nodes of Citus.
    Distributed,
    /// A hypertable.
    Hypertable,
    /// A hypertable whose older chunks may be in the columnstore.
    Columnstore,
}

/// The engine as it was read last; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct LastEngine(Arc<RwLock<Option<StoreEngine>>>);

// === impl StoreEngine ===

impl StoreEngine {
    /// Reads the engine. Without an extension it is one statement, with one it is two.
    pub(crate) async fn read(
        connection: &mut PgConnection,
        expected: ExpectedEngine,
    ) -> Result<Self, sqlx::Error> {
        let (server, citus, timescale): (String, Option<String>, Option<String>) =
            sqlx::query_as(EXTENSIONS).fetch_one(&mut *connection).await?;
        let plain =
            Self { kind: EngineKind::Plain, version: server, layout: TelemetryLayout::Partitioned };
        if expected == ExpectedEngine::Plain {
            return Ok(plain);
        }
        if let Some(version) = timescale.filter(|_| expected != ExpectedEngine::Citus) {
            let columnstore: Option<bool> =
                sqlx::query_scalar(COLUMNSTORE).fetch_optional(&mut *connection).await?;
            let layout = match columnstore {
                None => TelemetryLayout::Partitioned,
                Some(false) => TelemetryLayout::Hypertable,
                Some(true) => TelemetryLayout::Columnstore,
            };
            // A database may have both extensions: the one that carries telemetry counts.
            if citus.is_none() || columnstore.is_some() {
                return Ok(Self { kind: EngineKind::Timescale, version, layout });
            }
        }
        let Some(version) = citus.filter(|_| expected != ExpectedEngine::Timescale) else {
            return Ok(plain);
        };
        let is_distributed = sqlx::query_scalar(IS_DISTRIBUTED).fetch_one(connection).await?;
        let layout = if is_distributed {
            TelemetryLayout::Distributed
        } else {
            TelemetryLayout::Partitioned
        };
        Ok(Self { kind: EngineKind::Citus, version, layout })
    }

    /// Why this is not the engine that `STORE_ENGINE` names. `None` means that it is.
    pub fn complaint(&self, expected: ExpectedEngine) -> Option<String> {
        let (wanted, extension) = match expected {
            ExpectedEngine::Auto | ExpectedEngine::Plain => return None,
            ExpectedEngine::Citus => (EngineKind::Citus, "citus"),
            ExpectedEngine::Timescale => (EngineKind::Timescale, "timescaledb"),
        };
        (self.kind != wanted).then(|| {
            format!(
                "STORE_ENGINE={} and this database has no extension {extension}: run CREATE EXTENSION \
                {extension} in it, point DATABASE_URL at the database that has it, or set \
                STORE_ENGINE=auto",
                wanted.label()
            )
        })
    }
}

impl fmt::Display for StoreEngine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} {}, telemetry {}",
            self.kind.label(),
            self.version,
            self.layout.text()
        )
    }
}

// === impl EngineKind ===

impl EngineKind {
    /// Its name in settings, metrics and answers.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Citus => "citus",
            Self::Timescale => "timescale",
        }
    }
}

// === impl TelemetryLayout ===

impl TelemetryLayout {
    /// Its name in answers.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Partitioned => "partitioned",
            Self::Distributed => "distributed",
            Self::Hypertable => "hypertable",
            Self::Columnstore => "columnstore",
        }
    }

    /// The same as a part of a sentence.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Partitioned => "in partitions by day",
            Self::Distributed => "in distributed partitions by day",
            Self::Hypertable => "in a hypertable",
            Self::Columnstore => "in a hypertable with a columnstore",
        }
    }

    /// Whether the rows lie in chunks of a hypertable.
    pub const fn is_hypertable(self) -> bool {
        matches!(self, Self::Hypertable | Self::Columnstore)
    }
}

// === impl LastEngine ===

impl LastEngine {
    pub(super) fn get(&self) -> Option<StoreEngine> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers `engine`; returns whether the one before was another.
    pub(super) fn replace(&self, engine: &StoreEngine) -> bool {
        let mut last = self.0.write().unwrap_or_else(PoisonError::into_inner);
        last.replace(engine.clone()).as_ref() != Some(engine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expected_engine_that_is_not_there_is_a_complaint_with_its_statement() {
        let engine = |kind| StoreEngine {
            kind,
            version: "1".to_owned(),
            layout: TelemetryLayout::Partitioned,
        };
        let plain = engine(EngineKind::Plain);
        assert_eq!(plain.complaint(ExpectedEngine::Auto), None);
        assert_eq!(plain.complaint(ExpectedEngine::Plain), None);
        assert_eq!(engine(EngineKind::Citus).complaint(ExpectedEngine::Citus), None);
        let why = plain.complaint(ExpectedEngine::Timescale).unwrap();
        assert!(why.contains("CREATE EXTENSION timescaledb"), "{why}");
        assert!(engine(EngineKind::Timescale).complaint(ExpectedEngine::Citus).is_some());
    }
}
