//! Postgres is stopped while a person looks: each page says so soon, and the Overview still shows
//! the side of the broker.

use std::time::Instant;

use super::chromium_pages::pages;
use super::fleet;
use super::person::Person;
use crate::api::client::{TOKEN, builder};
use crate::support::postgres::Postgres;
use crate::support::time_bounds::PAGE_WITHOUT_POSTGRES;

#[test]
fn pages_say_within_seconds_that_postgres_is_away() {
    let postgres = Postgres::private();
    let database = postgres.database();
    database.query("INSERT INTO tenants VALUES ('acme', 'Acme')");
    let it = builder().set("ADMIN_TOKEN", TOKEN).on_database(&database).start();
    let port = it.listening("HTTP_BIND");
    let settings = it.settings.clone();
    let mut person = Person::at(port, "postgres-away");
    person.open(&fleet::link(&settings, "admin"));
    person.click("button", "Sign in");
    person.is_at("/console");
    let lists: Vec<String> =
        pages(&mut person).into_iter().filter(|page| !page.contains("acme")).collect();
    for page in &lists {
        person.open(page);
    }
    postgres.stop();
    for page in lists {
        let start = Instant::now();
        person.open(&page);
        let took = start.elapsed();
        assert!(took < PAGE_WITHOUT_POSTGRES, "{page} took {took:?}");
        let shown = person.shown();
        let is_of_daemon = |path: &&str| page.starts_with(*path);
        let needs_postgres =
            !["/console/live", "/console/settings", "/console/access", "/console/devices/new"]
                .iter()
                .any(is_of_daemon);
        assert!(!needs_postgres || shown.contains("postgres"), "{page} says: {shown}");
    }
    postgres.start();
    person.open("/console/devices");
    person.sees("No devices yet");
}
