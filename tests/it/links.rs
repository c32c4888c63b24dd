//! Links to other brokers, against real ones: a Mosquitto that logs in and refuses as a cloud does,
//! and clients that are not ours. The stand-ins are in `tests/links`; each says what it cannot show.
#![allow(
    dead_code,
    reason = "a fixture offers what its server can do, also what no test needs at the moment"
)]

mod attack;
mod aws;
mod aws_certificate;
mod aws_checks;
mod aws_commands;
mod aws_link;
mod aws_login;
mod azure;
mod bounds;
pub mod cloud;
mod events;
mod identity;
mod insider;
mod lies;
pub mod limits;
pub mod linked;
mod reader;
mod receiver;
mod receiver_pause;
mod receiver_session;
mod refused_flood;
mod replicas;
pub mod rig;
mod rig_checks;
mod sender;
mod sender_faults;
mod sender_order;
mod sender_sessions;
mod wire;
mod wire_cuts;
mod wire_drip;
mod wire_lies;
