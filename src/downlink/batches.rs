//! One command for many devices: queue it by one statement, show how far it is, cancel what is open.
//!
//! Devices that are not ACTIVE are skipped and counted.

use uuid::Uuid;

use super::DownlinkContext;
use super::commands::{CommandContent, CommandError};
use crate::domain::ids::TenantId;
use crate::store::downlink::command_batches::{
    self as rows, AddedBatch, BatchProgress, CommandTargets, NewBatch,
};

/// The most devices of a batch.
pub const MAX_BATCH: u32 = 10_000;

/// A batch that is queued now or was queued before.
#[derive(Clone, Debug)]
pub struct QueuedBatch {
    /// The batch.
    pub progress: BatchProgress,
    /// Devices that match and are not ACTIVE; 0 for a batch that was queued before.
    pub skipped: i64,
    /// Devices that were named and do not match; 0 for a batch that was queued before.
    pub unmatched: i64,
    /// Whether it was queued now.
    pub is_new: bool,
}

/// Queues a command for the ACTIVE devices of a tenant that match. With an identifier that the
/// tenant has a batch of, the same content is the same batch: it gets no further devices.
pub async fn queue(
    context: DownlinkContext<'_>,
    tenant: &TenantId,
    targets: CommandTargets,
    batch_id: Option<Uuid>,
    order: CommandContent,
) -> Result<QueuedBatch, CommandError> {
    let ttl = order.check(context).await?;
    let named = targets.named();
    let CommandContent { command_type, params, .. } = order;
    let batch_id = batch_id.unwrap_or_else(Uuid::now_v7);
    let tenant = tenant.clone();
    let new = NewBatch {
        tenant: tenant.clone(),
        targets,
        batch_id,
        command_type,
        params,
        ttl,
        max: MAX_BATCH,
    };
    let (is_new, skipped, unmatched) =
        match rows::add(context.database.pool(), context.actor, &new).await? {
            AddedBatch::Added { queued: 0, skipped } => {
                return Err(CommandError::NothingMatched { tenant, skipped });
            }
            AddedBatch::Added { queued, skipped } => {
                (true, skipped, named.map_or(0, |named| named - queued - skipped))
            }
            AddedBatch::Exists { is_same: true } => (false, 0, 0),
            AddedBatch::Exists { is_same: false } => return Err(CommandError::Different(batch_id)),
            AddedBatch::TooMany { matched } => {
                return Err(CommandError::TooMany { tenant, matched, max: MAX_BATCH });
            }
            AddedBatch::Suspended => return Err(CommandError::Suspended(tenant)),
            AddedBatch::NoTenant => return Err(CommandError::NoTenant(tenant)),
        };
    let progress = show(context, &tenant, batch_id).await?;
    Ok(QueuedBatch { progress, skipped, unmatched, is_new })
}

/// Shows how far a batch is.
pub async fn show(
    context: DownlinkContext<'_>,
    tenant: &TenantId,
    batch_id: Uuid,
) -> Result<BatchProgress, CommandError> {
    let progress = rows::progress(context.database.pool(), tenant, batch_id).await?;
    progress.ok_or_else(|| CommandError::NoBatch { tenant: tenant.clone(), batch_id })
}

/// Cancels the open commands of a batch; returns their number and how far the batch is.
pub async fn cancel(
    context: DownlinkContext<'_>,
    tenant: &TenantId,
    batch_id: Uuid,
) -> Result<(i64, BatchProgress), CommandError> {
    let pool = context.database.pool();
    let cancelled = rows::cancel(pool, context.actor, tenant, batch_id).await?;
    Ok((cancelled, show(context, tenant, batch_id).await?))
}
