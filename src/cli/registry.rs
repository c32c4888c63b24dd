//! Registry commands: [`tenant`] is `sluice tenant`, [`device`] is `sluice device`,
//! [`enrol`] is `sluice enrol`, [`operator`] is `sluice operator`.
//!
//! [`token`] reads or creates a device's token; [`status_reach`] says what a status changes at the
//! broker. They issue no certificate.

pub(crate) mod device;
mod device_edit;
mod device_list;
mod device_preview;
mod device_values;
pub(crate) mod enrol;
pub(crate) mod operator;
pub(crate) mod status_reach;
pub(crate) mod tenant;
pub(crate) mod token;
