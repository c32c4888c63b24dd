//! The fixtures are code too: each is shown to do what the tests rely on.

pub mod daemon;
pub mod device;
pub mod mosquitto;
pub mod postgres;
pub mod process;
