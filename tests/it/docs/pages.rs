//! Every shell block of the pages runs as written, page by page, on a [`Machine`]; so does every SQL
//! statement on a migrated database.
//!
//! What the page shows as output must come: each word of it that does not change from run to run.
//! Blocks that cannot run here are counted and named.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::blocks::{Block, Page, read, stable_words};
use super::machine::Machine;
use crate::compose::stack::repository;
use crate::support::postgres::Postgres;
use crate::support::wait;

/// Pages with shell blocks, each with the number of blocks that are not run. Such a block has a reason
/// in the page: it installs packages, needs Docker, or is run by tests of its own.
const PAGES: [(&str, usize); 38] = [
    ("../README.md", 2),
    ("explanation/growing.md", 1),
    ("how-to/access-policy.md", 0),
    ("how-to/api-over-mqtt.md", 0),
    ("how-to/backup.md", 0),
    ("how-to/cells.md", 0),
    ("how-to/certificates.md", 0),
    ("how-to/citus.md", 4),
    ("how-to/commands.md", 0),
    ("how-to/compose.md", 1),
    ("how-to/console-access.md", 0),
    ("how-to/console-pages.md", 0),
    ("how-to/debian.md", 8),
    ("how-to/est.md", 0),
    ("how-to/from-go-auth.md", 0),
    ("how-to/go-auth.md", 0),
    ("how-to/grafana.md", 0),
    ("how-to/guests.md", 0),
    ("how-to/kubernetes.md", 4),
    ("how-to/link-aws-iot.md", 3),
    ("how-to/link-event-grid.md", 0),
    ("how-to/link-mqtt.md", 0),
    ("how-to/live.md", 0),
    ("how-to/own-broker.md", 0),
    ("how-to/plugin.md", 1),
    ("how-to/replay.md", 0),
    ("how-to/scale.md", 0),
    ("how-to/shadow.md", 0),
    ("how-to/timescale.md", 4),
    ("how-to/tokens-jwt.md", 0),
    ("how-to/upgrade.md", 0),
    ("reference/api.md", 0),
    ("reference/device-api.md", 0),
    ("tutorial/console.md", 1),
    ("tutorial/first-command.md", 0),
    ("tutorial/first-device-by-certificate.md", 0),
    ("tutorial/first-ten-minutes.md", 1),
    ("tutorial/link.md", 0),
];

fn page(path: &str) -> Page {
    read(&fs::read_to_string(repository("docs").join(path)).unwrap())
}

/// Runs a page on a new machine, after the pages it needs.
fn run(path: &str) -> Machine {
    let mut machine = Machine::new();
    run_on(&mut machine, path);
    machine
}

fn run_on(machine: &mut Machine, path: &str) {
    let page = page(path);
    if let Some(first) = &page.after {
        run_on(machine, first);
    }
    machine.run(&page.setup, 0).unwrap_or_else(|error| panic!("{path}, setup: {error}"));
    for block in page.blocks.iter().filter(|block| block.not_run.is_none()) {
        if block.text.starts_with("psql ") {
            // A query is repeated: a row comes a moment after its message.
            wait::for_ok(path, || shows(machine, block));
        } else {
            shows(machine, block).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
    }
}

/// Runs a block; `Err` if it fails or does not print the output that the page shows.
fn shows(machine: &mut Machine, block: &Block) -> Result<(), String> {
    let printed = machine.run(&block.text, block.exit_code)?;
    let shown = block.output.as_deref().unwrap_or_default();
    let missing: Vec<&str> =
        stable_words(shown).into_iter().filter(|word| !printed.contains(word)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{missing:?} of the output shown is missing after\n{}\nwhich printed\n{printed}",
        block.text
    ))
}

#[test]
fn the_page_access_policy_runs() {
    run("how-to/access-policy.md");
}

#[test]
fn the_page_of_the_api_over_mqtt_runs() {
    run("how-to/api-over-mqtt.md");
}

#[test]
fn the_page_backup_runs_and_the_restored_database_holds_what_was_stored() {
    let machine = run("how-to/backup.md");
    let rows = "SELECT count(*) FROM telemetry";
    assert_ne!(machine.value("sluice", rows), "0");
    assert_eq!(machine.value("sluice", rows), machine.value("sluice_before", rows));
}

#[test]
fn the_page_cells_runs() {
    let machine = run("how-to/cells.md");
    assert_eq!(machine.value("sluice", "SELECT count(*) FROM devices"), "1");
}

#[test]
fn the_page_of_citus_runs_without_its_nodes() {
    run("how-to/citus.md");
}

#[test]
fn the_page_of_timescale_runs_without_the_extension() {
    run("how-to/timescale.md");
}

#[test]
fn the_page_commands_runs() {
    run("how-to/commands.md");
}

#[test]
fn the_page_of_the_move_from_go_auth_runs() {
    run("how-to/from-go-auth.md");
}

#[test]
fn the_page_of_the_plugin_runs() {
    run("how-to/plugin.md");
}

#[test]
fn the_page_of_the_access_to_the_console_runs() {
    run("how-to/console-access.md");
}

#[test]
fn the_page_of_the_pages_of_the_console_runs() {
    run("how-to/console-pages.md");
}

#[test]
fn the_page_of_replicas_runs() {
    let machine = run("how-to/scale.md");
    let member =
        "SELECT string_agg(filters::text, '') FROM broker_sessions WHERE client_id = 'sluice-0'";
    assert!(machine.value("sluice", member).starts_with("{$share/sluice/"));
}

#[test]
fn the_page_shadow_runs() {
    run("how-to/shadow.md");
}

#[test]
fn the_page_est_runs() {
    let machine = run("how-to/est.md");
    let of_pump_3 = "SELECT string_agg(status, ' ') FROM device_certificates \
                     WHERE device_id = 'pump-3'";
    assert_eq!(machine.value("sluice", of_pump_3), "ACTIVE ACTIVE");
    let uses = "SELECT uses FROM enrolment_codes WHERE device_id = 'pump-3'";
    assert_eq!(machine.value("sluice", uses), "1", "the repeated request is no second use");
}

#[test]
fn the_page_go_auth_runs() {
    run("how-to/go-auth.md");
}

#[test]
fn the_page_grafana_runs() {
    run("how-to/grafana.md");
}

#[test]
fn the_page_guests_runs() {
    run("how-to/guests.md");
}

#[test]
fn the_page_on_event_grid_runs() {
    let mut machine = Machine::new();
    machine.stand_in(
        "plant.westeurope-1.ts.eventgrid.azure.net",
        "/etc/sluice/azure.crt",
        "https://gate.example.org",
    );
    run_on(&mut machine, "how-to/link-event-grid.md");
}

#[test]
fn the_page_on_aws_iot_runs() {
    run("how-to/link-aws-iot.md");
}

#[test]
fn the_page_on_another_mqtt_broker_runs() {
    run("how-to/link-mqtt.md");
}

#[test]
fn the_tutorial_of_the_first_link_runs() {
    run("tutorial/link.md");
}

#[test]
fn the_page_live_runs() {
    run("how-to/live.md");
}

#[test]
fn the_page_replay_runs() {
    run("how-to/replay.md");
}

#[test]
fn the_page_tokens_jwt_runs() {
    run("how-to/tokens-jwt.md");
}

#[test]
fn the_page_upgrade_runs() {
    run("how-to/upgrade.md");
}

/// It runs after `how-to/certificates.md`, which runs after `how-to/own-broker.md`.
#[test]
fn the_page_of_the_api_runs() {
    run("reference/api.md");
}

#[test]
fn the_page_of_the_device_api_runs() {
    run("reference/device-api.md");
}

#[test]
fn the_tutorial_on_a_device_by_certificate_runs() {
    run("tutorial/first-device-by-certificate.md");
}

/// Its steps at the console are those of `the_tutorial_goes_from_a_link_to_stored_messages`.
#[test]
fn the_tutorial_on_the_console_runs() {
    run("tutorial/console.md");
}

#[test]
fn the_tutorial_on_the_first_command_runs() {
    run("tutorial/first-command.md");
}

#[test]
fn the_blocks_of_the_readme_that_can_run_do() {
    run("../README.md");
    run("tutorial/first-ten-minutes.md");
}

#[test]
fn a_block_that_fails_ends_otherwise_or_prints_something_else_is_found() {
    let mut machine = Machine::new();
    let mut outcome = |text: &str| {
        let page = read(text);
        page.blocks.iter().try_for_each(|block| shows(&mut machine, block))
    };
    assert_eq!(outcome("```sh\necho ready 1\n```\n\n```\nready 2\n```\n"), Ok(()));
    assert_eq!(outcome("<!-- exits with 3 -->\n```sh\nexit 3\n```\n"), Ok(()));
    let wrong = [
        "```sh\nfalse\necho reached\n```\n",
        "<!-- exits with 1 -->\n```sh\ntrue\n```\n",
        "```sh\necho other\n```\n\n```\nready\n```\n",
        "```sh\ncat /etc/sluice/missing | cat\n```\n",
        "```sh\nif true; then systemctl stop mosquitto; fi\n```\n",
    ];
    for text in wrong {
        assert!(outcome(text).is_err(), "{text}");
    }
}

#[test]
fn every_page_with_a_shell_block_is_known_and_few_blocks_are_not_run() {
    let mut found = BTreeMap::new();
    let mut dirs = vec![repository("docs")];
    let mut files = vec![("../README.md".to_owned(), repository("README.md"))];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let name = path.strip_prefix(repository("docs")).unwrap().to_str().unwrap();
                files.push((name.to_owned(), path));
            }
        }
    }
    for (name, path) in files {
        let blocks = read(&fs::read_to_string(path).unwrap()).blocks;
        if !blocks.is_empty() {
            found.insert(name, blocks.iter().filter(|block| block.not_run.is_some()).count());
        }
    }
    let expected: BTreeMap<String, usize> =
        PAGES.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    assert_eq!(found, expected);
}

#[test]
fn every_sql_statement_of_the_pages_is_one_that_this_schema_answers() {
    let database = Postgres::shared().database();
    let mut count = 0;
    for path in ["how-to/query-data.md", "../migrations/README.md"] {
        let text = fs::read_to_string(Path::new(&repository("docs")).join(path)).unwrap();
        for block in text.split("\n```sql\n").skip(1) {
            let (sql, _) = block.split_once("\n```").unwrap();
            // The examples name roles; two pages make the same.
            database.query(&format!("BEGIN; {sql}; ROLLBACK"));
            count += 1;
        }
    }
    assert!(count >= 9, "{count}");
}
