//! Rows of `telemetry` for COPY, and the fast path: COPY into the table, all rows or none.
//!
//! It skips no duplicate; [`super::staging`] does.

use super::columns::{ColumnField, ColumnKind};
use crate::domain::message::{Reading, Site};
use crate::store::connection::copy_buffer::CopyBuffer;
use crate::store::connection::writer_connection::WriterConnection;
use crate::store::error::StoreError;

/// The columns, in the order of [`FIELDS`].
const COPY: &str = "COPY telemetry \
    (time, received_at, tenant_id, device_id, site_id, msg_type, seq, metrics, extra, message_id, link, certificate_id) \
    FROM STDIN (FORMAT binary)";

/// The fields of a row.
pub(super) const FIELDS: [ColumnField<Reading>; 12] = [
    (ColumnKind::Moment, |to, row| to.timestamp(row.time)),
    (ColumnKind::Moment, |to, row| to.timestamp(row.received_at)),
    (ColumnKind::Text, |to, row| to.bytes(row.device.tenant().as_bytes())),
    (ColumnKind::Text, |to, row| to.bytes(row.device.device().as_bytes())),
    (ColumnKind::Text, |to, row| to.bytes_or_null(row.site.as_ref().map(Site::as_bytes))),
    (ColumnKind::Text, |to, row| to.bytes(&row.msg_type)),
    (ColumnKind::Bigint, |to, row| to.bigint_or_null(row.seq)),
    (ColumnKind::Json, |to, row| to.jsonb(&row.metrics)),
    (ColumnKind::Json, |to, row| to.jsonb_or_null(row.extra.as_deref())),
    (ColumnKind::Id, |to, row| to.uuid(row.message_id)),
    (ColumnKind::Text, |to, row| {
        to.bytes_or_null(row.link.as_ref().map(|link| link.as_str().as_bytes()));
    }),
    (ColumnKind::Id, |to, row| to.uuid_or_null(row.certificate)),
];

/// Copies all rows into the table; a duplicate or a refused row fails them all.
pub(super) async fn copy(
    session: &mut WriterConnection,
    buffer: &mut CopyBuffer,
    rows: &[Reading],
) -> Result<u64, StoreError> {
    session.copy(COPY, buffer, rows, put).await
}

/// Writes one row into `buffer`.
pub(super) fn put(buffer: &mut CopyBuffer, row: &Reading) {
    buffer.row(FIELDS.len());
    for (_, put) in FIELDS {
        put(buffer, row);
    }
}
