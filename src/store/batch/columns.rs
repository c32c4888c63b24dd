//! Rows as the parameters of one statement: an array for each column, its elements in the binary
//! format of COPY.
//!
//! It knows no table: the file of a table lists its fields once, for COPY and for arrays.

use sqlx::Type;
use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgTypeInfo, Postgres};
use sqlx::types::Json;
use sqlx::types::chrono::{DateTime, Utc};
use sqlx::types::uuid::Uuid;

use crate::store::connection::copy_buffer::CopyBuffer;

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColumnKind {
    Moment,
    Text,
    Bytes,
    Bigint,
    Json,
    Id,
}

/// A field of a row: its type, and the function that writes it.
pub(super) type ColumnField<R> = (ColumnKind, fn(&mut CopyBuffer, &R));

/// One column of a set of rows.
#[derive(Debug)]
pub(super) struct Column {
    kind: ColumnKind,
    rows: usize,
    elements: CopyBuffer,
}

// === impl ColumnKind ===

impl ColumnKind {
    /// The OID of the element type; fixed by Postgres, the same in every database.
    const fn oid(self) -> u32 {
        match self {
            Self::Moment => 1184,
            Self::Text => 25,
            Self::Bytes => 17,
            Self::Bigint => 20,
            Self::Json => 3802,
            Self::Id => 2950,
        }
    }

    fn array(self) -> PgTypeInfo {
        match self {
            Self::Moment => <Vec<DateTime<Utc>> as Type<Postgres>>::type_info(),
            Self::Text => <Vec<String> as Type<Postgres>>::type_info(),
            Self::Bytes => <Vec<Vec<u8>> as Type<Postgres>>::type_info(),
            Self::Bigint => <Vec<i64> as Type<Postgres>>::type_info(),
            Self::Json => <Vec<Json<()>> as Type<Postgres>>::type_info(),
            Self::Id => <Vec<Uuid> as Type<Postgres>>::type_info(),
        }
    }
}

// === impl Column ===

impl Column {
    /// The columns of `rows`, in the order of `fields`.
    pub fn all<R>(fields: &[ColumnField<R>], rows: &[R]) -> impl Iterator<Item = Self> {
        fields.iter().map(move |&(kind, put)| {
            let mut elements = CopyBuffer::default();
            for row in rows {
                put(&mut elements, row);
            }
            Self { kind, rows: rows.len(), elements }
        })
    }
}

impl Type<Postgres> for Column {
    /// Required by the trait and not used: `produces` returns the type of each column.
    fn type_info() -> PgTypeInfo {
        ColumnKind::Text.array()
    }
}

impl Encode<'_, Postgres> for Column {
    fn encode_by_ref(&self, to: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        const MAY_HOLD_NULL: i32 = 1;
        const COUNTED_FROM: i32 = 1;
        let dimensions = i32::from(self.rows > 0);
        to.extend_from_slice(&dimensions.to_be_bytes());
        to.extend_from_slice(&MAY_HOLD_NULL.to_be_bytes());
        to.extend_from_slice(&self.kind.oid().to_be_bytes());
        if self.rows > 0 {
            to.extend_from_slice(&i32::try_from(self.rows)?.to_be_bytes());
            to.extend_from_slice(&COUNTED_FROM.to_be_bytes());
        }
        to.extend_from_slice(self.elements.written());
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(self.kind.array())
    }
}
