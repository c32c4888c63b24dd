//! The schema: migrations, the partitions by day, and the inspection of server and schema that readiness and `doctor` show.

pub mod day_tables;
pub mod inspect_schema;
pub mod inspect_server;
pub mod migrate;
pub mod partitions;
pub mod required_objects;
pub mod retention;
