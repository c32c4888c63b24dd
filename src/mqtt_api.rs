//! Requests over MQTT: of devices below their own topics, and of operators with the routes of the
//! HTTP API.
//!
//! It holds no rules of its own: each answer comes from the wing that decides.
