//! Bytes and packets of one connection; no session, and no decision about a message.
//!
//! From the socket upwards: [`quiet_tcp`] is TCP whose wake-ups can pause, [`tls`] reads
//! certificates and roots, [`web_socket`] makes bytes of frames, [`duplex`] is any of these,
//! [`upgrade`] asks for a websocket, [`dial`] opens the layers in turn, [`mqtt_stream`] reads and
//! writes packets. [`packets`] splits bytes into packets ([`malformed`] names what
//! is none), [`publish_properties`] reads those of a
//! PUBLISH, [`publish_encoder`] writes a PUBLISH with properties, [`outgoing`] holds the other
//! packets that Sluice sends. [`unanswered`] numbers what waits for PUBACK, [`keepalive`] times the
//! pings.

pub(crate) mod dial;
pub(crate) mod duplex;
pub(crate) mod keepalive;
pub(crate) mod malformed;
pub(crate) mod mqtt_stream;
pub(crate) mod outgoing;
pub(crate) mod packets;
#[cfg(test)]
mod packets_tests;
pub(crate) mod publish_encoder;
pub(crate) mod publish_properties;
pub(crate) mod quiet_tcp;
pub(crate) mod tls;
pub(crate) mod unanswered;
pub(crate) mod upgrade;
pub(crate) mod web_socket;
pub(crate) mod web_socket_fault;
#[cfg(test)]
mod web_socket_tests;
