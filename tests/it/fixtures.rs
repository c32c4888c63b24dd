//! The fixtures are code too: each is shown to do what the tests rely on.

mod daemon;
mod device;
mod mosquitto;
mod postgres;
mod process;
