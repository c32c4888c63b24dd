//! Rows of `telemetry`, as COPY takes them. The fast road: straight into the table, all or nothing.

use super::copy::CopyBuffer;
use super::session::Session;
use super::trouble::Trouble;
use crate::domain::message::{Reading, Site};

/// The columns, in the order of [`encode`].
const COPY: &str = "COPY telemetry \
    (time, received_at, tenant_id, device_id, site_id, msg_type, seq, metrics, extra, message_id) \
    FROM STDIN (FORMAT binary)";

/// How many they are.
const FIELDS: i16 = 10;

/// Copies all rows into the table; a repeated or a poisoned row fails them all.
pub(super) async fn copy(session: &mut Session, buffer: &mut CopyBuffer, rows: &[Reading]) -> Result<u64, Trouble> {
    session.copy(COPY, encode(buffer, rows)).await
}

/// All rows, in one pass.
pub(super) fn encode<'buffer>(buffer: &'buffer mut CopyBuffer, rows: &[Reading]) -> &'buffer [u8] {
    buffer.start();
    for row in rows {
        buffer.row(FIELDS);
        buffer.timestamp(row.time);
        buffer.timestamp(row.received_at);
        buffer.bytes(row.device.tenant().as_bytes());
        buffer.bytes(row.device.device().as_bytes());
        buffer.bytes_or_null(row.site.as_ref().map(Site::as_bytes));
        buffer.bytes(&row.msg_type);
        buffer.bigint_or_null(row.seq);
        buffer.jsonb(&row.metrics);
        match &row.extra {
            Some(extra) => buffer.jsonb(extra),
            None => buffer.null(),
        }
        buffer.uuid(row.message_id);
    }
    buffer.finish()
}
