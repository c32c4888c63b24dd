//! The properties that the fuzz targets check. They know no fuzzer: `tests/it` compiles them too, and
//! runs them on a few inputs.

pub mod payload;
pub mod topic;
