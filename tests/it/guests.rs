//! Guests: their credentials, the page in a real browser, and what holds where the broker cannot ask.

mod broker;
mod browser;
mod credentials;
mod door;
mod page;
