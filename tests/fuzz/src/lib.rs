//! The properties that the fuzz targets check. They know no fuzzer: `tests/it` compiles them too, and
//! runs them on a few inputs.

pub mod frames;
pub mod names;
#[cfg(feature = "daemon")]
pub mod payload;
pub mod proof;
#[cfg(feature = "daemon")]
pub mod topic;
