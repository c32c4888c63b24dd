//! Cells: the decisions of joining and leaving a registry, and the task that watches the copy.
//!
//! [`join`] checks both sides by [`conditions`] and refuses what would overwrite rows or never work;
//! [`leave`] takes it back; [`watch`] is the task of every daemon, and [`age_check`] its question whether the
//! registry was restored.

mod age_check;
mod conditions;
pub(crate) mod join;
pub(crate) mod leave;
pub(crate) mod watch;
