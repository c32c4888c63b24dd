//! The pages that depend on a running server: the reference of the tables is read from a migrated
//! database.

mod tables;
