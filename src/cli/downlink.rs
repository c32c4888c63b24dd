//! What goes to devices: [`command`] is `sluice command`, [`shadow`] is `sluice shadow`.
//!
//! [`send`] queues commands and [`follow`] waits for their end; [`failures`] words errors, [`print`] prints. The daemon
//! publishes what these commands write.

pub(crate) mod command;
mod failures;
mod follow;
mod print;
mod send;
pub(crate) mod shadow;
