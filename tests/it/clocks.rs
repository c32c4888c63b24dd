//! A machine whose clock is wrong: the daemon sees it by Postgres' clock, says so, and does no
//! harm.

use crate::support::daemon::Settings;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;
use crate::support::wait;

#[test]
fn a_wrong_clock_shows_in_readiness_metric_and_doctor() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().database();
    let right = Settings::new(&broker, &database);
    let days = 40.0 * 86_400.0;
    for (moved, words, offset) in [
        ("+40d", "s ahead of the clock of Postgres", days),
        ("-40d", "s behind the clock of Postgres", -days),
    ] {
        let settings = right.clone().with_clock(moved);
        let daemon = settings.start();
        daemon.wait_unready_for(words);
        let found = daemon.metric("sluice_clock_offset_seconds");
        assert!((found - offset).abs() < 60.0, "{found}");
        let output = settings.command(&["doctor", "--output", "json"]).output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let rows = report["findings"].as_array().unwrap();
        let clock = rows.iter().find(|row| row["check"] == "Postgres clock").unwrap();
        assert_eq!(clock["level"], "error", "{report:#}");
        daemon.kill9();
    }
    let daemon = right.start();
    daemon.wait_ready();
    wait::until("the clocks are compared", || {
        daemon.metric("sluice_clock_offset_seconds").abs() < 60.0
    });
}
