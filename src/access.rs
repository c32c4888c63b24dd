//! The doorkeeper's judgement: who asks, what the policy says of it, and which rule said so.
//!
//! It answers from memory and never talks to Postgres or to the broker; [`crate::http`] carries its answers out.
//! Read [`policy`] first: it asks what is [`built_in`] and then the [`rules`], whose topics are [`pattern`]s held against
//! the [`filter`] that is asked for. [`policy_file`] reads the rules, [`lint`] doubts them.
//!
//! A token's way: [`token`] takes it apart, [`verify`] checks it against the keys that [`keeper`] has fetched, [`claims`]
//! says who it speaks of. [`refused`] says why not.
//!
//! [`door`] answers the broker: it finds out who asks ([`caller`]), by [`tokens`], by the registry or by one of the
//! [`logins`], and asks the [`rulebook`]'s policy. [`reserved`] names and client ids are nobody's. [`denial`] says why not.
//! [`guest`] is what a public credential is.

pub mod built_in;
pub mod caller;
pub mod claims;
pub mod decision;
pub mod denial;
pub mod door;
mod fetch;
pub mod filter;
pub mod guest;
pub mod keeper;
pub mod keys;
pub mod lint;
#[cfg(test)]
mod lint_tests;
pub mod logins;
mod memory;
#[cfg(test)]
mod oracle_tests;
pub mod pattern;
#[cfg(test)]
mod pattern_tests;
pub mod policy;
pub mod policy_file;
#[cfg(test)]
mod policy_file_tests;
mod policy_node;
#[cfg(test)]
mod policy_tests;
pub mod policy_walk;
pub mod proof;
pub mod refused;
pub mod reserved;
pub mod rulebook;
pub mod rules;
pub mod subject;
mod token;
pub mod tokens;
pub mod verify;
