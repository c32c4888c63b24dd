//! Bytes and packets of one connection; no session, and no decision about a message.
//!
//! From the socket upwards: [`quiet_tcp`] is TCP whose wake-ups can pause, [`tls`] reads
//! certificates and roots, [`mqtt_stream`] reads and writes packets, [`packets`] splits bytes into
//! packets, [`publish_properties`] reads those of a PUBLISH, [`publish_encoder`] writes a PUBLISH with
//! properties, [`outgoing`] holds the other packets that Sluice sends.

pub(crate) mod mqtt_stream;
pub(crate) mod outgoing;
pub(crate) mod packets;
#[cfg(test)]
mod packets_tests;
pub(crate) mod publish_encoder;
pub(crate) mod publish_properties;
pub(crate) mod quiet_tcp;
pub(crate) mod tls;
