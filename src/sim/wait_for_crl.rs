//! Waits until the broker enforces the CRL, and until no revocation of the fleet is pending.
//!
//! A revocation ends with a takeover of the client id: a device that reconnects too early with a
//! new certificate would lose its session. This file only reads.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::{Instant, sleep};

use crate::clock;
use crate::command::context::outage;
use crate::command::failure::Failure;
use crate::domain::ports::Outage;
use crate::store::certificates::revocation_ledger::RevocationLedger;
use crate::store::connection::database::Database;

/// Interval between two reads of the table.
const PERIOD: Duration = Duration::from_millis(100);

/// Upper bound for each wait.
const PATIENCE: Duration = Duration::from_secs(45);

/// Watches the CRL of one issuer.
pub struct CrlWatch {
    ledger: RevocationLedger,
    issuer: String,
    /// Time of the last probe before `open`.
    before: Option<DateTime<Utc>>,
}

// === impl CrlWatch ===

impl CrlWatch {
    /// Records the time of the last probe.
    pub async fn open(database: &Database, issuer: &str) -> Result<Self, Failure> {
        let opened = async {
            let mut ledger = RevocationLedger::open(database).await?;
            let before = ledger.state().await?.looked_at;
            Ok(Self { ledger, issuer: issuer.to_owned(), before })
        };
        opened.await.map_err(|error: Outage| outage(&error))
    }

    /// Waits until a later probe finds that the broker enforces the CRL.
    pub async fn wait_enforced(&mut self) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            let state = self.ledger.state().await.map_err(|error| outage(&error))?;
            if state.looked_at > self.before && state.enforced == Some(true) {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                let why = state.finding.unwrap_or_else(|| "no probe has finished".to_owned());
                return Err(Failure::unavailable(format!(
                    "the broker does not enforce the CRL ({why}): \
                     check CRL_OUTPUT_PATH, BROKER_PID_FILE and BROKER_PROBE_ADDR, and read the daemon's log"
                )));
            }
            sleep(PERIOD).await;
        }
    }

    /// Waits until no revocation of a common name that begins with `names` is pending.
    pub async fn wait_settled(mut self, names: &str) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            let rows = self.ledger.open_revocations(&self.issuer, true, clock::now()).await;
            let open = rows.map_err(|error| outage(&error))?;
            let ours = open.iter().filter(|one| one.common_name.starts_with(names)).count();
            if ours == 0 {
                self.ledger.close().await;
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(Failure::unavailable(format!(
                    "{ours} revocations of {names}... have no proof yet, \
                     and ending their sessions would disconnect new devices: \
                     check with `sluice crl show` that a daemon publishes the CRL and the broker enforces it"
                )));
            }
            sleep(PERIOD).await;
        }
    }
}
