//! The one place that classifies errors of Postgres: an error of the row's data, a duplicate, or an
//! outage.
//!
//! Its texts never contain the URL, a password, or a value of a row.

use sqlx::postgres::PgDatabaseError;

use crate::domain::ports::Outage;

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// An error of the row's data: a retry cannot help, storing the other rows can. The text is the
    /// database's.
    Data(String),
    /// A row with that key exists.
    Duplicate,
    /// Not an error of the data: retry. The text says what to do, if known.
    Outage(String),
}

// === impl StoreError ===

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => match error.try_downcast_ref::<PgDatabaseError>() {
                Some(error) => classify(error.code(), error.message(), error.constraint()),
                None => Self::Outage(error.message().to_owned()),
            },
            sqlx::Error::Io(error) => {
                Self::Outage(format!("lost the connection to Postgres: {error}"))
            }
            sqlx::Error::Tls(error) => Self::Outage(format!(
                "TLS with Postgres failed: {error}; check sslmode and the certificates"
            )),
            sqlx::Error::PoolTimedOut => Self::Outage(
                "no connection to Postgres became free in time: Postgres is unavailable (check \
                DATABASE_URL, or PGHOST and PGPORT), or all PG_POOL_MAX connections are in use"
                    .into(),
            ),
            sqlx::Error::PoolClosed => {
                Self::Outage("the connections to Postgres are closed: Sluice is stopping".into())
            }
            // Its text may quote the URL.
            sqlx::Error::Configuration(_) => Self::Outage(
                "the connection settings of Postgres are invalid: check DATABASE_URL".into(),
            ),
            other => Self::Outage(format!("unexpected answer from Postgres: {other}")),
        }
    }
}

impl From<StoreError> for Outage {
    /// For callers without rows.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Outage(text) => Self(text),
            StoreError::Data(text) => Self(format!("Postgres refused the data: {text}")),
            StoreError::Duplicate => {
                Self("Postgres refused the data: the row exists already".into())
            }
        }
    }
}

/// Classes of SQLSTATE: 22 data exception, 23 integrity, 21 cardinality and 54 program limit
/// (nesting, index row size) are the row's. All others, also unlisted ones, are outages: no row is
/// refused for an unknown reason.
fn classify(code: &str, message: &str, constraint: Option<&str>) -> StoreError {
    if code == "23505" {
        return StoreError::Duplicate;
    }
    // A cell refuses to change its copy of the registry; the sentence says where to go.
    if code == "SLC01" {
        return StoreError::Outage(message.to_owned());
    }
    // "no partition of relation found for row" shares its code with a violated check, which always
    // names a constraint.
    let no_partition = code == "23514" && constraint.is_none();
    // 22P03 and 22P04 are errors of the binary format of COPY: a fault of Sluice, not of the
    // sender.
    let is_format_error = matches!(code, "22P03" | "22P04");
    let is_data_error = matches!(code.get(..2), Some("21" | "22" | "23" | "54"))
        && !no_partition
        && !is_format_error;
    if is_data_error {
        return StoreError::Data(format!("{message} (SQLSTATE {code})"));
    }
    StoreError::Outage(match advice(code, no_partition) {
        Some(advice) => format!("{message} (SQLSTATE {code}): {advice}"),
        None => format!("{message} (SQLSTATE {code})"),
    })
}

fn advice(code: &str, no_partition: bool) -> Option<&'static str> {
    Some(match code {
        _ if no_partition => {
            "the partition of that day is missing, and so is the default partition: run `sluice \
            migrate`, or create telemetry_late again"
        }
        "53100" => {
            "the disk of Postgres is full: free space or shorten the retention; no messages are \
            lost"
        }
        "53200" => {
            "Postgres is out of memory: give it more memory, or lower its work_mem and \
            max_connections"
        }
        "53300" => "Postgres has no free connection: raise max_connections, or lower PG_POOL_MAX",
        "25006" => {
            "this Postgres is read-only: point DATABASE_URL at the primary, or turn \
            default_transaction_read_only off"
        }
        "42501" => {
            "the role of Sluice must own its tables, and may need CREATE and TEMPORARY: run \
            `sluice doctor`"
        }
        "42P01" | "42703" | "42883" | "42704" => {
            "the schema does not match this version of Sluice: run `sluice migrate`"
        }
        "28P01" | "28000" => {
            "Postgres refused the login: check the user and the password in DATABASE_URL (or PG*), and pg_hba.conf"
        }
        "3D000" => "create that database, or correct its name in DATABASE_URL (or PGDATABASE)",
        "57P01" | "57P02" | "57P03" => "Postgres is stopping or starting; Sluice retries",
        "57014" => {
            "the statement took too long: look for locks and load on Postgres; Sluice retries"
        }
        "55P03" => "another session locks the tables: look in pg_stat_activity; Sluice retries",
        "P0001" => {
            "a trigger or function that is not part of Sluice raised this error: let it skip the \
            row (RETURN NULL), or correct its rule. Until then Sluice stores nothing, and \
            Mosquitto keeps the messages"
        }
        "40P01" | "40001" => "two writers locked the same rows; Sluice retries",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_error_of_the_data_is_classified_as_data() {
        for code in
            ["22P05", "22003", "22008", "22021", "23502", "23503", "21000", "54001", "54000"]
        {
            assert!(matches!(classify(code, "m", None), StoreError::Data(_)), "{code}");
        }
        assert!(matches!(classify("23514", "m", Some("a_check")), StoreError::Data(_)));
        assert_eq!(classify("23505", "m", Some("telemetry_once")), StoreError::Duplicate);
        for code in [
            "08006", "53100", "57P01", "58030", "40P01", "40001", "25006", "42501", "42P01",
            "XX000", "0A000", "", "é",
        ] {
            assert!(matches!(classify(code, "m", None), StoreError::Outage(_)), "{code}");
        }
    }

    #[test]
    fn a_missing_partition_is_an_outage_and_says_what_to_do() {
        let StoreError::Outage(text) =
            classify("23514", "no partition of relation \"telemetry\" found for row", None)
        else {
            panic!("blamed on the row");
        };
        assert!(text.contains("telemetry_late"), "{text}");
    }

    #[test]
    fn a_bad_url_is_not_quoted() {
        let error = sqlx::Error::Configuration("postgres://u:hunter2@h".into());
        let StoreError::Outage(text) = error.into() else { panic!("an outage") };
        assert!(!text.contains("hunter2"), "{text}");
    }
}
