//! Guests: their credentials, the page in a real browser, and what holds where the broker cannot
//! ask.

pub mod broker;
pub mod credentials;
pub mod door;
pub mod page;
