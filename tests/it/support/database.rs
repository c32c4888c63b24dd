//! The database of one test. Queries run as superuser over the socket, so a test sees all rows and
//! never waits for the daemon.

use std::future::Future;
use std::str::FromStr;
use std::sync::LazyLock;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection, Row, ValueRef};
use tokio::runtime::Runtime;

use super::postgres::{PASSWORD, Postgres, ROLE};
use super::wait;

/// What stands for NULL in results.
const NULL: &str = "NULL";

/// A fresh database; dropped with this.
#[derive(Debug)]
pub struct Database<'a> {
    server: &'a Postgres,
    name: String,
    temporary: bool,
}

/// Rows as text, as Postgres writes them; NULL is `NULL`.
pub type Rows = Vec<Vec<String>>;

// === impl Database ===

impl<'a> Database<'a> {
    pub(super) fn new(server: &'a Postgres, name: String) -> Self {
        Self { server, name, temporary: true }
    }

    pub(super) fn existing(server: &'a Postgres, name: &str) -> Self {
        Self { server, name: name.to_owned(), temporary: false }
    }

    /// For the daemon: over TCP, with its role and password.
    pub fn url(&self) -> String {
        self.url_through(self.server.port())
    }

    /// The same through a proxy's port.
    pub fn url_through(&self, port: u16) -> String {
        format!("postgres://{ROLE}:{PASSWORD}@127.0.0.1:{port}/{}", self.name)
    }

    /// The same over the Unix socket.
    pub fn socket_url(&self) -> String {
        let socket = self.server.socket_dir().display();
        format!("postgres://{ROLE}@localhost:{}/{}?host={socket}", self.server.port(), self.name)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs one or more statements; the rows of all of them.
    pub fn query(&self, sql: &str) -> Rows {
        self.try_query(sql).unwrap_or_else(|error| panic!("{sql}: {error}{}", wait::log_tails()))
    }

    /// The same, where a failure is part of the test.
    pub fn try_query(&self, sql: &str) -> Result<Rows, sqlx::Error> {
        try_query(self.server, &self.name, sql)
    }

    /// The first column of the first row.
    pub fn value(&self, sql: &str) -> String {
        self.query(sql).into_iter().flatten().next().unwrap_or_else(|| panic!("{sql}: no row"))
    }

    /// The rows of one SELECT as a JSON array of objects.
    pub fn json(&self, sql: &str) -> serde_json::Value {
        let text =
            self.value(&format!("SELECT coalesce(jsonb_agg(to_jsonb(q)), '[]') FROM ({sql}) q"));
        serde_json::from_str(&text).unwrap()
    }

    /// Waits until the first column of the first row is this.
    pub fn wait_until(&self, sql: &str, expected: &str) {
        wait::for_ok(&format!("{sql} says {expected}"), || match self.try_query(sql) {
            Ok(rows)
                if rows
                    .first()
                    .and_then(|row| row.first())
                    .is_some_and(|value| value == expected) =>
            {
                Ok(())
            }
            other => Err(format!("it says {other:?}")),
        });
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        // A test that failed may have left its server frozen, and would wait for it without end.
        if self.temporary && self.server.is_running() && !std::thread::panicking() {
            // A database that stays is removed with its server.
            let _ = try_query(
                self.server,
                "postgres",
                &format!("DROP DATABASE {} WITH (FORCE)", self.name),
            );
        }
    }
}

/// Runs statements as the role in `url`, as the daemon does.
pub fn query_at(url: &str, sql: &str) -> Result<Rows, sqlx::Error> {
    run(PgConnectOptions::from_str(url)?, sql)
}

pub fn try_query(server: &Postgres, database: &str, sql: &str) -> Result<Rows, sqlx::Error> {
    let options =
        PgConnectOptions::new_without_pgpass().socket(server.socket_dir()).port(server.port());
    run(options.username("postgres").database(database).application_name("test"), sql)
}

/// Runs statements on a connection of their own.
fn run(options: PgConnectOptions, sql: &str) -> Result<Rows, sqlx::Error> {
    let sql = sql.to_owned();
    block_on(async move {
        let mut connection = PgConnection::connect_with(&options).await?;
        // The simple protocol: several statements at once, and every value as text.
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut connection).await?;
        connection.close().await?;
        rows.iter().map(texts).collect()
    })
}

/// Runs a future from any thread, also from one that already drives a runtime.
pub fn block_on<F>(future: F) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    });
    let (done, result) = std::sync::mpsc::sync_channel(1);
    RUNTIME.spawn(async move {
        let _ = done.send(future.await);
    });
    result.recv().expect("the future ran to its end")
}

fn texts(row: &PgRow) -> Result<Vec<String>, sqlx::Error> {
    let text = |column| {
        let value = row.try_get_raw(column)?;
        if value.is_null() {
            Ok(NULL.to_owned())
        } else {
            value.as_str().map(str::to_owned).map_err(sqlx::Error::Decode)
        }
    };
    (0..row.len()).map(text).collect()
}
