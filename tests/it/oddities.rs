//! What no device should send and some will: each harms itself alone, and the messages around it arrive.

mod identifiers;
mod poison;
mod retained;
mod wire;
