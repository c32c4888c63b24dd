//! What Sluice publishes to devices.

mod errors;
