//! The daemon's own HTTP: what operators and their tools ask.
//!
//! It answers from what others keep (metrics, readiness, cached grants); it decides nothing and knows neither broker nor database.

mod limits;
mod ops;

pub use ops::{Remembered, serve_ops};
