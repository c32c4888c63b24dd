//! A connection to a database that is not the one of the settings: the registry of a cell, or the cell's
//! own Postgres as its administrator.
//!
//! Its errors name the place and never the URL, which contains a password.

use std::str::FromStr;

use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

use crate::config::secret::Secret;
use crate::domain::ports::Outage;
use crate::store::connection::writer_connection::{SILENT_CLIENT, WriterConnection};
use crate::store::error::StoreError;

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

/// The URL without its password, for what is printed.
pub fn masked(url: &Secret) -> String {
    let text = url.expose();
    let (scheme, rest) = text.split_once("://").unwrap_or(("postgres", text));
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let authority = match authority.rsplit_once('@') {
        Some((login, host)) => match login.split_once(':') {
            Some((user, _)) => format!("{user}:***@{host}"),
            None => format!("{login}@{host}"),
        },
        None => authority.to_owned(),
    };
    let (path, query) =
        path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let query = query.map(|query| {
        let pair = |pair: &str| match pair.split_once('=') {
            Some((name, _)) if name.contains("password") => format!("{name}=***"),
            _ => pair.to_owned(),
        };
        format!("?{}", query.split('&').map(pair).collect::<Vec<_>>().join("&"))
    });
    format!("{scheme}://{authority}{path}{}", query.unwrap_or_default())
}

/// An error of a statement that may quote the URL.
pub(super) fn redacted(error: StoreError, url: &Secret) -> Outage {
    let Outage(why) = error.into();
    Outage(why.replace(url.expose(), &masked(url)))
}

// --- private helpers ---

fn place_of(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    match options.get_socket() {
        Some(socket) => format!("{}:{}/{database}", socket.display(), options.get_port()),
        None => format!("{}:{}/{database}", options.get_host(), options.get_port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_url_has_no_password() {
        for (url, expected) in [
            ("postgres://cell:s3@cret@reg:5432/db", "postgres://cell:***@reg:5432/db"),
            ("postgres://cell@reg/db", "postgres://cell@reg/db"),
            (
                "postgresql://reg/db?password=s3cret&sslmode=require",
                "postgresql://reg/db?password=***&sslmode=require",
            ),
        ] {
            assert_eq!(masked(&Secret::new(url.to_owned())), expected);
        }
    }
}
