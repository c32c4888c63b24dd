//! The status columns of tenants, devices, certificates and commands, which Rust reads and binds as types.
//!
//! The labels are those of the types; this file only joins them to Postgres. A label without a type
//! is an error: the checks of the tables allow none.

use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgTypeInfo, PgValueRef, Postgres};
use sqlx::{Decode, Type};

use super::certificates::CertificateStatus;
use super::registry::tenants::TenantStatus;
use crate::domain::command::CommandStatus;
use crate::domain::device::DeviceStatus;

/// The column has a text that is no label of its type.
#[derive(Debug, thiserror::Error)]
#[error("the status {0:?} is not known to this version of Sluice; correct the row")]
struct UnknownStatus(String);

/// Reads and binds a type as the text that its `label` returns.
macro_rules! text_column {
    ($($status:ty),*) => {$(
        impl Type<Postgres> for $status {
            fn type_info() -> PgTypeInfo {
                <str as Type<Postgres>>::type_info()
            }

            fn compatible(other: &PgTypeInfo) -> bool {
                <str as Type<Postgres>>::compatible(other)
            }
        }

        impl Decode<'_, Postgres> for $status {
            fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
                let label = <&str as Decode<Postgres>>::decode(value)?;
                Self::from_label(label).ok_or_else(|| UnknownStatus(label.to_owned()).into())
            }
        }

        impl Encode<'_, Postgres> for $status {
            fn encode_by_ref(&self, to: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
                <&str as Encode<Postgres>>::encode(self.label(), to)
            }
        }
    )*};
}

text_column!(TenantStatus, DeviceStatus, CertificateStatus, CommandStatus);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_the_table_name_a_status_alike() {
        for status in [TenantStatus::Active, TenantStatus::Suspended] {
            assert_eq!(serde_json::json!(status), status.label());
        }
        for status in [DeviceStatus::Active, DeviceStatus::Inactive, DeviceStatus::Revoked] {
            assert_eq!(serde_json::json!(status), status.label());
        }
        for status in CertificateStatus::ALL {
            assert_eq!(serde_json::json!(status), status.label());
        }
    }
}
