//! What one round of [`super::partitions`] did and found. It decides nothing.

/// The result of one round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionReport {
    /// Names of the partitions created.
    pub made: Vec<String>,
    /// Rows moved from the default partition into a partition created after they arrived.
    pub moved: u64,
    /// Names of the partitions dropped.
    pub dropped: Vec<String>,
    /// Rows past the retention that were deleted one by one.
    pub expired: u64,
    /// Certificates past their retention whose rows were deleted.
    pub certificates: u64,
    /// Chunks of a hypertable that were moved into the columnstore.
    pub compressed: Vec<String>,
    /// Partitions that were indexed by the time of receipt.
    pub indexed: Vec<String>,
    /// Consecutive days after today for which telemetry has its partition.
    pub ahead: i64,
    /// Partitions of today and tomorrow that do not exist.
    pub missing: Vec<String>,
    /// Steps that failed in this round, each with its cause.
    pub failed: Vec<String>,
    /// Why nothing past the retention was deleted; `None` means deletion was allowed.
    pub held: Option<String>,
}

// === impl PartitionReport ===

impl PartitionReport {
    /// Notes why a table was not kept, so that the round continues with the others. An error that is
    /// not the statement's ends the round: the connection may be gone.
    pub(super) fn note<T>(
        &mut self,
        table: &str,
        kept: Result<T, sqlx::Error>,
    ) -> Result<Option<T>, sqlx::Error> {
        match kept {
            Ok(kept) => Ok(Some(kept)),
            Err(sqlx::Error::Database(error)) => {
                self.failed.push(format!("{table}: {error}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
