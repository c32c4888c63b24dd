//! `sluice tenant` and `sluice device`, and a device's token on the command line.

pub mod device;
pub mod status_reach;
pub mod tenant;
pub mod token;
