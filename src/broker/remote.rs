//! One connection to another broker: CONNECT to its end, driven by its caller.
//!
//! It has no task of its own, never reconnects, and decides nothing about a message. The sender and the
//! receiver of a link use it, and the commands that try a link.
//!
//! In reading order: [`target`] is where to connect, [`facts`] what was seen on the way there,
//! [`grants`] what CONNACK grants, [`connection`] the connection with its parts [`subscribing`],
//! [`minting`], [`paused`] and [`closing`], [`event`] what it reports, [`subscriptions`] what the broker has not
//! granted yet, [`remote_timers`] when it acts.

mod closing;
pub mod connection;
pub mod event;
pub mod facts;
pub mod grants;
mod minting;
mod paused;
pub(crate) mod remote_timers;
mod subscribing;
pub(crate) mod subscriptions;
pub mod target;
