//! The daemon's own HTTP: what operators and their tools ask.
//!
//! It answers from what others keep (metrics, readiness); it decides nothing and knows neither broker nor database.

mod limits;
mod ops;

pub use ops::serve_ops;
