//! The adapters of the domain's ports, each made from one [`Database`]: sink, directory, logbook,
//! roster.
//!
//! It opens no connection and runs no statement. It stands above the folders of `store`, so that
//! `connection` names none of them.

use super::access::logins::PgLogbook;
use super::access::replicas::PgRoster;
use super::batch::sink::PgSink;
use super::connection::database::Database;
use super::registry::directory::PgDirectory;

// === impl Database ===

impl Database {
    /// Returns the sink of the writer, which opens a connection of its own.
    pub fn sink(&self) -> PgSink {
        PgSink::new(self.writer_options(), self.metrics().clone())
    }

    /// Returns a sink that rolls back each transaction instead of committing it.
    pub fn rehearsal(&self) -> PgSink {
        self.sink().rehearsing()
    }

    /// Returns the directory of the authorizer, on the pool.
    pub fn directory(&self) -> PgDirectory {
        PgDirectory::new(self.pool().clone())
    }

    /// Returns the logbook of broker logins, on the pool.
    pub fn logbook(&self) -> PgLogbook {
        PgLogbook::new(self.pool().clone())
    }

    /// Returns the roster of replicas, on the pool; `username` is stored in the row of `client_id`.
    pub fn roster(&self, client_id: &str, username: Option<String>) -> PgRoster {
        PgRoster::new(self.pool().clone(), client_id.to_owned(), username)
    }
}
