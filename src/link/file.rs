//! The links file: TOML, one table for each link.
//!
//! A file with one fault yields no link. All faults are reported at once, each with its path, such as
//! `link.azure.publish[0].to`. Reading it opens none of the files that the links name: they may be
//! mounted later.
//!
//! In reading order: [`mod@load`] reads the file, or ends with an [`error`]. [`keys`] lists every key,
//! [`fields`] reads the values of one table, [`units`] sizes and durations; [`link_table`] reads one
//! link with its [`bounds`], its [`login`] and its [`rules`]; [`names`] checks topics and names,
//! [`hosts`] the shape of the address, [`loops`] and [`cross_checks`] compare rules and links with each
//! other. [`reloading`] reads the file again when it changes. For the operator, [`checked`] is all that
//! is known without a connection: [`warnings`] finds what is probably not meant, [`named_files`] checks
//! the files that the links name.

mod bounds;
mod checked;
#[cfg(test)]
mod checked_tests;
mod cross_checks;
mod error;
mod fields;
pub(crate) mod hosts;
pub mod keys;
mod link_table;
mod load;
mod login;
mod loops;
mod named_files;
mod names;
pub(crate) mod reloading;
#[cfg(test)]
mod rule_tests;
mod rules;
#[cfg(test)]
mod tests;
mod units;
mod warnings;

pub use checked::{CheckedLinks, check};
pub use error::LinksFileError;
pub use load::{MAX_FILE_BYTES, MAX_LINKS, load, parse};
