//! Bounded listeners: [`short_lived`] for people and programs, [`long_lived`] for the broker's own connections, [`drain`] for
//! the end of both. Every connection has a deadline, every listener a number of places.

pub mod browser;
pub mod drain;
pub mod limits;
pub mod places;
