//! What the operator sees when something around the daemon is wrong: a sentence that names the
//! setting, and no restart once it is right; but settings that cannot be right end it at once.

mod broker;
mod database;
mod links;
mod refused;

use crate::support::daemon::Daemon;
use crate::support::wait;

/// Waits until readiness says these words, and that the process is alive all the same; returns all
/// it says.
fn wait_for_words(daemon: &Daemon, words: &[&str]) -> String {
    let said = wait::for_ok(&format!("readiness says {words:?}"), || match daemon.get("/readyz") {
        Ok((503, body)) if words.iter().all(|word| body.contains(word)) => Ok(body),
        other => Err(format!("it says {other:?}")),
    });
    assert_eq!(daemon.get("/livez").unwrap(), (200, "ok".to_owned()));
    said
}
