//! Bounded listeners: every connection has deadlines, and every listener a number of places.
//!
//! Read it in this order:
//!
//! 1. [`limits`] accepts connections and enforces their deadlines and sizes;
//! 2. [`places`] decides which connection closes when all places are taken;
//! 3. [`drain`] ends a listener;
//! 4. [`browser`] refuses requests of foreign web pages.
//!
//! It knows no route.

pub(crate) mod browser;
pub(crate) mod drain;
pub(crate) mod limits;
pub(crate) mod places;
