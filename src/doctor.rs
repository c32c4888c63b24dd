//! The doctor: checks settings, files, daemon, broker and Postgres in turn; each finding has its
//! advice.
//!
//! Read it in this order: [`report`] is what it finds, [`examination`] runs the checks, and the other
//! files are checks, or adapters to those that lie beside what they check. [`desk`] shares one
//! examination among all who want it.
//!
//! It changes nothing, and a check that fails stops no other. It prints nothing.

mod access_rules;
pub(crate) mod desk;
pub(crate) mod examination;
mod isolation;
mod links;
mod links_file;
mod local_files;
mod replicas;
pub(crate) mod report;
