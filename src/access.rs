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

pub mod hooks;
pub mod policy;
pub mod tokens;
