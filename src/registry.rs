//! Decisions about tenants, devices and certificates: joins the signing of [`crate::pki`] with the
//! rows of [`crate::store`].
//!
//! In reading order: [`tenants`] and [`devices`] add, change and remove. [`certificates`] issues,
//! renews, rotates, imports and revokes, one decision per file. [`revocation`] carries a revoked row
//! to its proof at the broker. [`access_rules`] keeps the broker's access rules equal to the
//! registry. [`signer`] opens the authority that signs; [`authority_watch`] and
//! [`cell_authority_watch`] report the end of each. [`guests`] issues short-lived public
//! credentials. [`cells`] joins and leaves the registry of cells, and watches the copy.
//! [`enrolment`] makes the codes of first certificates and redeems them. [`operators`] makes the
//! tokens of people. [`replicas`] says which replicas may drain, and which sessions are orphaned.
//! [`health`] is how its tasks report faults.
//!
//! Everything that signs follows one order: judge the request, plan, reserve the serial number,
//! sign, store the row. A refusal stores nothing, and a power cut leaves a record of every number
//! that may be in use. It prints nothing and answers no request: the command line and the API call
//! the same functions.

pub(crate) mod access_rules;
pub(crate) mod authority_watch;
pub(crate) mod cell_authority_watch;
pub(crate) mod cells;
pub(crate) mod certificates;
pub(crate) mod devices;
pub(crate) mod enrolment;
pub mod guests;
mod health;
pub(crate) mod operators;
pub(crate) mod replicas;
pub(crate) mod revocation;
pub(crate) mod signer;
pub(crate) mod tenants;

use crate::domain::time::Timestamp;
use crate::store::connection::database::Database;
use crate::store::registry::audit::Actor;
pub(crate) use signer::{Signer, SignerChoice, SignerError, chains, open_issuer, open_signer};

/// What every change needs: the database, the actor for the audit log, and the time.
#[derive(Clone, Copy, Debug)]
pub struct ActionContext<'a> {
    /// The database the change is written to.
    pub database: &'a Database,
    /// The actor recorded in the audit log.
    pub actor: &'a Actor,
    /// The time at which the decision is made.
    pub now: Timestamp,
}
