//! The fixtures are code too: each is shown to do what the tests rely on.

mod mosquitto;
mod postgres;
mod process;
