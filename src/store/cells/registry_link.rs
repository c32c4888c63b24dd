//! A connection to a database that is not the one of the settings: the registry of a cell, or the cell's
//! own Postgres as its administrator.
//!
//! Its errors name the place and never the URL, which contains a password.

use std::str::FromStr;

use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

use super::registry_url;
use crate::config::secret::Secret;
use crate::domain::ports::Outage;
use crate::store::connection::writer_connection::{SILENT_CLIENT, WriterConnection};

/// `application_name` of these connections.
const APPLICATION_NAME: &str = "sluice-cell";

/// An open connection.
#[derive(Debug)]
pub struct RegistryLink {
    pub(super) session: WriterConnection,
    place: String,
}

// === impl RegistryLink ===

impl RegistryLink {
    /// Connects to the registry; libpq must read its URL as well.
    pub async fn open_registry(url: &Secret) -> Result<Self, Outage> {
        registry_url::check(url, "REGISTRY_URL")?;
        Self::open(url, "the registry", "REGISTRY_URL").await
    }

    /// Connects; `what` names the database in errors, and `source` where its URL comes from.
    pub async fn open(url: &Secret, what: &str, source: &str) -> Result<Self, Outage> {
        let options = PgConnectOptions::from_str(url.expose()).map_err(|_| {
            Outage(format!(
                "{source} is not a valid URL (not shown, because it may contain a password): write \
                 postgres://user:password@host:5432/database, with special characters percent-encoded"
            ))
        })?;
        let options = options
            .application_name(APPLICATION_NAME)
            .options(SILENT_CLIENT)
            .disable_statement_logging();
        let place = place_of(&options);
        let opened = WriterConnection::open(&options).await;
        let session = opened.map_err(|error| {
            let Outage(why) = error.into();
            let why = why
                .replace("DATABASE_URL (or PGHOST and PGPORT)", source)
                .replace("DATABASE_URL (or PG*)", source)
                .replace("DATABASE_URL (or PGDATABASE)", source)
                .replace("DATABASE_URL", source)
                .replace("connect to Postgres", &format!("connect to {what}"));
            Outage(why)
        })?;
        Ok(Self { session, place })
    }

    /// Host, port and database.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Closes the connection.
    pub async fn close(self) {
        self.session.close().await;
    }
}

// --- private helpers ---

fn place_of(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    match options.get_socket() {
        Some(socket) => format!("{}:{}/{database}", socket.display(), options.get_port()),
        None => format!("{}:{}/{database}", options.get_host(), options.get_port()),
    }
}
