//! The doorkeeper's judgement: who asks, what the policy says of it, and which rule said so.
//!
//! It answers from memory and never talks to Postgres or to the broker; [`crate::http`] carries its answers out.

pub mod guest;
pub mod subject;
