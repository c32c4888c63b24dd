//! Waits until the broker acts on the CRL, and until nobody of a fleet is about to be put out.
//!
//! The end of a revocation is a takeover by name: a device that came back too early, with a new certificate, would be put out
//! in the old one's place. It only looks.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::{Instant, sleep};

use crate::clock;
use crate::command::context::outage;
use crate::command::failure::Failure;
use crate::domain::ports::Outage;
use crate::store::certificates::revocation_ledger::RevocationLedger;
use crate::store::connection::database::Database;

/// How often the table is looked at.
const PERIOD: Duration = Duration::from_millis(100);

/// What has not happened by then will not.
const PATIENCE: Duration = Duration::from_secs(45);

/// What is watched.
pub struct CrlWatch {
    ledger: RevocationLedger,
    issuer: String,
    /// When the broker had been looked at before.
    before: Option<DateTime<Utc>>,
}

// === impl CrlWatch ===

impl CrlWatch {
    /// Remembers how things stand now.
    pub async fn open(database: &Database, issuer: &str) -> Result<Self, Failure> {
        let opened = async {
            let mut ledger = RevocationLedger::open(database).await?;
            let before = ledger.state().await?.looked_at;
            Ok(Self { ledger, issuer: issuer.to_owned(), before })
        };
        opened.await.map_err(|error: Outage| outage(&error))
    }

    /// Waits until a daemon has seen since then that the broker acts on the CRL.
    pub async fn wait_enforced(&mut self) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            let state = self.ledger.state().await.map_err(|error| outage(&error))?;
            if state.looked_at > self.before && state.enforced == Some(true) {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                let why = state.finding.unwrap_or_else(|| "nobody has looked".to_owned());
                return Err(Failure::unavailable(format!(
                    "the broker does not act on the CRL ({why}): check CRL_OUTPUT_PATH, BROKER_PID_FILE and \
                     BROKER_PROBE_ADDR; the daemon's log says more"
                )));
            }
            sleep(PERIOD).await;
        }
    }

    /// Waits until no revocation of a name that begins so is on its way.
    pub async fn wait_settled(mut self, names: &str) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            let asked = self.ledger.open_revocations(&self.issuer, true, clock::now()).await;
            let open = asked.map_err(|error| outage(&error))?;
            let ours = open.iter().filter(|one| one.common_name.starts_with(names)).count();
            if ours == 0 {
                self.ledger.close().await;
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(Failure::unavailable(format!(
                    "{ours} revocations of {names}... are not proven yet, and their ends would put out who connects now: \
                     does a daemon publish the CRL, and does the broker act on it (`sluice crl show`)?"
                )));
            }
            sleep(PERIOD).await;
        }
    }
}
