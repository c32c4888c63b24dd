//! The policy of the daemon: `sluice_shared::policy` decides, so that the hooks and the broker's plugin
//! give one answer; this wing reads the policy file.
//!
//! Read it in this order:
//!
//! 1. [`file`](mod@file) parses a policy file;
//! 2. [`reloading`] replaces the active policy when the file changes;
//! 3. [`lint`] warns about rules that are valid and suspicious;
//! 4. [`rule_place`] finds a rule in the text of its file.
//!
//! It decides nothing.

pub(crate) mod file;
#[cfg(test)]
mod file_tests;
pub(crate) mod lint;
#[cfg(test)]
mod lint_tests;
#[cfg(test)]
mod oracle_tests;
pub(crate) mod reloading;
pub(crate) mod rule_place;
#[cfg(test)]
mod tests;

pub use sluice_shared::policy::{Policy, built_in, decision, effect, filter, pattern, rule};
