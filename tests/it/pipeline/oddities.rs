//! What no device should send and some will: each harms itself alone, and the messages around it
//! arrive.

pub mod identifiers;
pub mod poison;
pub mod retained;
pub mod wire;
