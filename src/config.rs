//! The settings, parsed and checked once: code that gets a [`Config`] validates nothing again.
//!
//! In reading order: [`setting`] defines one setting, and [`table`] lists all of them by area.
//! [`sections`] holds the settings and the type of each area; `values` is all of them in one type.
//! [`load`] merges the sources, parses each value and checks values against each other. [`secret`]
//! holds a value that is never displayed. [`document`] reads the files that have a grammar of their
//! own, and [`mod@nearest`] finds the known name for an unknown one.
//!
//! All errors are reported at once, each with the name, the value and what is allowed. Nothing here
//! opens a connection: whether a host responds is found by the code that connects.

pub(crate) mod document;
pub(crate) mod load;
pub(crate) mod nearest;
pub mod secret;
pub mod sections;
pub mod setting;
pub mod table;
mod template;
mod values;

pub use load::Loaded;
pub use load::effective::Effective;
pub use load::error::{ConfigError, ConfigErrors};
pub use load::layers::Sources;
pub use template::template;
pub use values::Config;
