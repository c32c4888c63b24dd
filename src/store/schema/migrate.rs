//! Applies the pending migrations, and compares the schema with those of this binary.
//!
//! It never reverts a migration, and never changes a schema that is newer than this binary.

use sqlx::migrate::{MigrateError, Migrator};

use crate::domain::ports::Outage;
use crate::store::connection::database::Database;
use crate::store::connection::writer_connection::{WriterConnection, answer};
use crate::store::error::StoreError;

/// The files of `migrations/`, compiled in.
static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// The migrations of the database against those of this binary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaState {
    /// Versions applied, in order.
    pub applied: Vec<i64>,
    /// Versions that the database lacks, each with its description.
    pub pending: Vec<(i64, String)>,
    /// Applied versions that this binary does not know.
    pub unknown: Vec<i64>,
    /// Versions whose checksum differs from the applied one.
    pub changed: Vec<i64>,
}

/// Why the schema cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// A later release has migrated it.
    #[error(
        "the schema is newer than this version of Sluice: migration {0} is applied but unknown \
        here; run a newer version"
    )]
    Newer(i64),
    /// A migration was edited after it had been applied.
    #[error(
        "migration {0} differs from the one that was applied to this database; run the version of \
        Sluice that applied it, or a later one"
    )]
    Changed(i64),
    /// Migrations are pending.
    #[error(
        "{count} migration(s) are pending, the first is {first:04}; run `sluice migrate`, or set \
        MIGRATE_ON_START=1"
    )]
    Pending {
        /// How many.
        count: usize,
        /// The first of them.
        first: i64,
    },
    /// A migration failed and was rolled back.
    #[error("migration {version:04} failed and was rolled back: {why}")]
    Failed {
        /// Which.
        version: i64,
        /// The error of the database, and what to do.
        why: String,
    },
    /// The database failed.
    #[error(transparent)]
    Outage(#[from] Outage),
}

// === impl SchemaState ===

impl SchemaState {
    /// Checks that this binary can use the schema.
    pub fn check(&self) -> Result<(), SchemaError> {
        self.check_known()?;
        match self.pending.first() {
            Some(&(first, _)) => Err(SchemaError::Pending { count: self.pending.len(), first }),
            None => Ok(()),
        }
    }

    /// Checks that every applied migration is one of this binary.
    fn check_known(&self) -> Result<(), SchemaError> {
        if let Some(&version) = self.unknown.last() {
            return Err(SchemaError::Newer(version));
        }
        self.changed.first().map_or(Ok(()), |&version| Err(SchemaError::Changed(version)))
    }
}

impl Database {
    /// Applies the pending migrations under an advisory lock that other replicas wait for. Returns
    /// the applied versions.
    pub async fn migrate(&self) -> Result<Vec<i64>, SchemaError> {
        // On a connection of its own: the lock ends with it in every case.
        let mut session = self.connect().await.map_err(Outage::from)?;
        let before = read_state(&mut session).await?;
        before.check_known()?;
        // In a cell the triggers let migrations change the copy of the registry.
        session.run("SET sluice.writer = 'migration'").await.map_err(Outage::from)?;
        // Citus refuses a function after a parallel change of a table that it spread. Elsewhere nothing reads this.
        let sequential = "SET citus.multi_shard_modify_mode = 'sequential'";
        session.run(sequential).await.map_err(Outage::from)?;
        let result = MIGRATIONS.run(&mut session.connection).await.map_err(explain);
        session.close().await;
        result?;
        Ok(before.pending.into_iter().map(|(version, _)| version).collect())
    }

    /// Reads the state of the schema; changes nothing.
    pub async fn schema_state(&self) -> Result<SchemaState, Outage> {
        let mut session = self.connect().await?;
        let state = read_state(&mut session).await?;
        session.close().await;
        Ok(state)
    }
}

/// Reads the state of the schema over `session`.
pub(crate) async fn read_state(session: &mut WriterConnection) -> Result<SchemaState, Outage> {
    let query = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL");
    let has_any: bool = answer(query.fetch_one(&mut session.connection)).await?;
    let applied: Vec<(i64, Vec<u8>)> = if has_any {
        let query = sqlx::query_as(
            "SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version",
        );
        answer(query.fetch_all(&mut session.connection)).await?
    } else {
        Vec::new()
    };
    Ok(compare(&applied))
}

fn compare(applied: &[(i64, Vec<u8>)]) -> SchemaState {
    let mut state = SchemaState {
        applied: applied.iter().map(|(version, _)| *version).collect(),
        ..Default::default()
    };
    for (version, checksum) in applied {
        match MIGRATIONS.iter().find(|known| known.version == *version) {
            None => state.unknown.push(*version),
            Some(known) if known.checksum[..] != checksum[..] => state.changed.push(*version),
            Some(_) => {}
        }
    }
    state.pending = MIGRATIONS
        .iter()
        .filter(|known| !state.applied.contains(&known.version))
        .map(|known| (known.version, known.description.to_string()))
        .collect();
    state
}

fn explain(error: MigrateError) -> SchemaError {
    match error {
        MigrateError::VersionMissing(version) => SchemaError::Newer(version),
        MigrateError::VersionMismatch(version) => SchemaError::Changed(version),
        MigrateError::ExecuteMigration(error, version) => {
            let Outage(why) = StoreError::from(error).into();
            SchemaError::Failed { version, why }
        }
        MigrateError::Execute(error) => SchemaError::Outage(StoreError::from(error).into()),
        other => SchemaError::Outage(Outage(format!("cannot run the migrations: {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_applied() -> Vec<(i64, Vec<u8>)> {
        MIGRATIONS.iter().map(|known| (known.version, known.checksum.to_vec())).collect()
    }

    #[test]
    fn an_empty_database_lacks_everything_and_a_migrated_one_nothing() {
        assert!(matches!(compare(&[]).check(), Err(SchemaError::Pending { first: 1, .. })));
        assert_eq!(compare(&all_applied()).check(), Ok(()));
    }

    #[test]
    fn a_newer_schema_is_refused_before_anything_else() {
        let mut applied = all_applied();
        applied.remove(1);
        applied.push((9999, vec![0]));
        assert_eq!(compare(&applied).check(), Err(SchemaError::Newer(9999)));
    }

    #[test]
    fn an_edited_migration_is_noticed() {
        let mut applied = all_applied();
        applied[2].1[0] ^= 1;
        assert_eq!(compare(&applied).check(), Err(SchemaError::Changed(applied[2].0)));
    }
}
