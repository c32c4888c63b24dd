//! Postgres: the rows of messages, of the registry and of the quarantine. The only wing that names
//! sqlx.
//!
//! It decides nothing about a message. It stores and finds rows, and separates errors of the data
//! from errors of the database.
//!
//! Read it in this order:
//! 1. [`error`]: what an error of Postgres means.
//! 2. [`connection`]: the pool, the writer's own connection, the health probe.
//! 3. [`batch`]: the write path, one transaction for each batch of messages.
//! 4. [`registry`]: tenants, devices, the lookups of authorization, the change feed.
//! 5. [`certificates`]: the inventory of certificates and the steps of their revocation.
//! 6. [`access`]: broker logins, guest credentials, broker sessions, replicas.
//! 7. [`downlink`]: commands, documents and notices for devices, and the work of
//!    their publisher.
//! 8. [`links`]: what waits for links to other brokers, what they refused, and where a backlog was
//!    full.
//! 9. [`console`]: operators, sessions, and the codes of one-time links.
//! 10. [`reads`]: queries of the API and the command line.
//! 11. [`quarantine`]: filters and counts of refused messages, and the jobs that replay them.
//! 12. [`schema`]: migrations, partitions, retention, checks.
//! 13. [`cells`]: one registry for several databases, by logical replication.
//! 14. [`layout`]: how telemetry lies on Citus and Timescale, and the changes that an operator orders.
//! 15. [`port_adapters`]: makes the adapters of the domain's ports from one database.
//!
//! `status_columns` reads and binds the status of a tenant, a device, a certificate, a command as a type.

pub mod access;
pub mod batch;
pub mod cells;
pub mod certificates;
pub mod connection;
pub(crate) mod console;
pub mod downlink;
pub(crate) mod error;
pub mod layout;
pub mod links;
pub(crate) mod port_adapters;
pub mod quarantine;
pub mod reads;
pub mod registry;
pub mod schema;
mod status_columns;
