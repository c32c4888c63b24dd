//! Bytes and packets: the TCP or TLS stream, the splitter of MQTT packets, and the packets Sluice sends.
//!
//! It knows one connection and keeps no session; it decides nothing about a message.

pub mod mqtt_stream;
pub mod outgoing;
pub mod packets;
#[cfg(test)]
mod packets_tests;
pub mod quiet_tcp;
pub mod tls;
