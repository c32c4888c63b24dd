//! Rows of `telemetry`, as COPY takes them. The fast road: straight into the table, all or nothing.

use super::columns::{Field, Kind};
use super::copy::CopyBuffer;
use crate::domain::message::{Reading, Site};
use crate::store::connection::writer_connection::Session;
use crate::store::error::Trouble;

/// The columns, in the order of [`FIELDS`].
const COPY: &str = "COPY telemetry \
    (time, received_at, tenant_id, device_id, site_id, msg_type, seq, metrics, extra, message_id) \
    FROM STDIN (FORMAT binary)";

/// The fields of a row.
pub(super) const FIELDS: [Field<Reading>; 10] = [
    (Kind::Moment, |to, row| to.timestamp(row.time)),
    (Kind::Moment, |to, row| to.timestamp(row.received_at)),
    (Kind::Text, |to, row| to.bytes(row.device.tenant().as_bytes())),
    (Kind::Text, |to, row| to.bytes(row.device.device().as_bytes())),
    (Kind::Text, |to, row| to.bytes_or_null(row.site.as_ref().map(Site::as_bytes))),
    (Kind::Text, |to, row| to.bytes(&row.msg_type)),
    (Kind::Bigint, |to, row| to.bigint_or_null(row.seq)),
    (Kind::Json, |to, row| to.jsonb(&row.metrics)),
    (Kind::Json, |to, row| to.jsonb_or_null(row.extra.as_deref())),
    (Kind::Id, |to, row| to.uuid(row.message_id)),
];

/// Copies all rows into the table; a repeated or a poisoned row fails them all.
pub(super) async fn copy(session: &mut Session, buffer: &mut CopyBuffer, rows: &[Reading]) -> Result<u64, Trouble> {
    session.copy(COPY, buffer, rows, put).await
}

/// Puts down one row.
pub(super) fn put(buffer: &mut CopyBuffer, row: &Reading) {
    buffer.row(FIELDS.len());
    for (_, put) in FIELDS {
        put(buffer, row);
    }
}
