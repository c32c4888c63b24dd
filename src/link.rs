//! Links: connections to other brokers and clouds. Accepted messages go out over them, and messages
//! that come from them take the same way as those of the local broker.
//!
//! It authorizes no message and writes no row of telemetry; an outage of a link never holds up ingest.
//!
//! In reading order: [`settings`] describes one link, [`kind`] which broker it leads to, [`limits`]
//! what that broker accepts; [`file`](mod@file) reads all of it from the links file. [`aws`] gets
//! credentials of AWS and signs URLs with them, and [`login`] makes the target of a connect.
//! [`cloud_event`] encodes a message, [`sender`] sends, and [`receiver`] takes in what comes;
//! [`fleet`] runs all links, and [`explain`] says what a refusal means. For
//! people: [`overview`] joins what the lanes report, [`sample`] is a message to explain, [`visit`] is one connection of a command, and
//! [`check`] finds out why a link does not hold.

pub mod aws;
pub mod check;
pub mod cloud_event;
pub mod explain;
pub mod file;
pub mod fleet;
pub mod kind;
pub mod limits;
pub mod login;
pub mod overview;
pub mod receiver;
pub mod sample;
pub mod sender;
pub mod settings;
pub mod visit;
