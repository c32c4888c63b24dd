//! The quarantine for people: [`cursor`] is a place among events, [`filter`] selects them, [`facets`] counts them, [`kept_tokens`] compares their tokens, [`replay_jobs`] has
//! the jobs that replay them ([`replay_job`] is one), [`replay_turn`] is one step of a job.
//!
//! It decides nothing about a message. The events themselves are read by
//! [`crate::store::reads::quarantine`], and written by [`crate::store::batch`].

pub mod cursor;
pub mod facets;
pub mod filter;
pub mod kept_tokens;
pub mod replay_job;
pub mod replay_jobs;
pub mod replay_turn;
