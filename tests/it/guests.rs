//! Guests: their credentials, the page in a real browser, and what holds where the broker cannot ask.

mod broker;
pub mod browser;
mod credentials;
mod door;
mod page;
