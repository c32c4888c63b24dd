//! The pages that depend on running servers: the reference of the tables is read from a migrated
//! database, and the shell blocks and SQL statements of the pages are run.

mod blocks;
mod capacity;
mod machine;
mod pages;
mod tables;
