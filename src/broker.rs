//! The connection to Mosquitto: one MQTT 5 session that hands out deliveries and takes back acknowledgements.
//!
//! The only wing that knows MQTT's bytes. It stores nothing, judges no message, and never awaits Postgres.
//!
//! The socket loop is ours; of rumqttc only the MQTT 5 codec is used, not its event loop. With the loop in our hands
//! - the acknowledgements of a batch are one write, and a message costs a fraction of a microsecond, not two;
//! - an acknowledgement cannot outlive its connection: the socket and what waits to be written on it end together;
//! - a PUBLISH that is too large or malformed is stepped over, where a codec error would end the session, and again
//!   after each reconnect, for ever;
//! - reading can stop (the queue is full, Postgres is away) while acknowledgements and pings go on.
//!
//! From the outside in: [`session`] connects, again and again; [`steady`] is the loop of one connection; [`link`] is its
//! socket, which [`wire`] lets rest; [`frame`] splits bytes into packets; [`login`] says who we are; [`memory`] knows the
//! session from former runs, [`returning`] the messages that come again. [`trouble`] turns what can go wrong into a sentence with advice.
//! Beside the session: [`publisher`] and [`inspect`] for the operator; [`takeover`] ends the session of a revoked device, and
//! [`handshake`] tries whom the broker lets in; [`isolation`] tries where it lets a device publish.

pub mod error;
mod login;
pub mod session;
pub mod tools;
pub mod transport;
