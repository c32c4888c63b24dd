//! What the images ask: `sluice health` for a container without a shell, and the first start of a
//! new database server.

use std::process::{Command, Output};

use super::stack::{repository, words};
use crate::support::daemon::Settings;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;
use crate::support::process::{run_to_end, search_path};
use crate::support::wait;

fn health(settings: &Settings, more: &[&str]) -> Output {
    settings.command(&[&["health"], more].concat()).output().unwrap()
}

#[test]
fn health_reports_ready_unready_and_not_running() {
    let (broker, database) =
        (Mosquitto::start(MosquittoOptions::default()), Postgres::shared().database());
    let settings = Settings::new(&broker, &database);
    let nobody = health(&settings, &[]);
    assert_eq!(nobody.status.code(), Some(69), "{nobody:?}");
    assert!(words(&nobody).contains("OPS_BIND"), "{nobody:?}");
    let daemon = settings.start();
    daemon.wait_ready();
    let yes = health(&settings, &[]);
    assert!(yes.status.success() && words(&yes).contains(r#""ready":true"#), "{yes:?}");
    broker.stop();
    daemon.wait_unready();
    let no = health(&settings, &[]);
    assert!(no.status.code() == Some(1) && words(&no).contains("broker"), "{no:?}");
    let live = health(&settings, &["--live"]);
    assert!(live.status.success() && words(&live) == "ok\n", "{live:?}");
}

#[test]
fn a_new_database_server_gets_the_role_and_the_database() {
    let postgres = Postgres::private();
    let administrator = postgres.database();
    // The tests' own role stands where a new server has none.
    administrator.query("ALTER ROLE sluice RENAME TO somebody_else");
    let settings = Settings::empty();
    let file = settings.dir().write("password", "it's a \"password\"");
    let mut first_start = Command::new("/bin/sh");
    first_start
        .arg(repository("compose/postgres/10-sluice.sh"))
        .env_clear()
        .env("PATH", search_path());
    first_start.env("PGHOST", postgres.socket_dir()).env("PGPORT", postgres.port().to_string());
    run_to_end(first_start.env("POSTGRES_USER", "postgres").env("SLUICE_PASSWORD_FILE", &file));
    let host = format!("127.0.0.1:{}", postgres.port());
    let url = format!("postgres://sluice:it%27s%20a%20%22password%22@{host}/sluice");
    let migrated = settings.set("DATABASE_URL", &url).command(&["migrate"]).output().unwrap();
    assert!(migrated.status.success(), "{migrated:?}{}", wait::log_tails());
    assert!(!words(&migrated).contains("WARN"), "{migrated:?}");
}
