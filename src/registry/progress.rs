//! Waits for the chain of one revocation, and tells which link held when, or which did not.
//!
//! It only reads: whichever replica is the publisher does the work.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::domain::ports::Outage;
use crate::store::connect::Database;
use crate::store::revocations::{self, Link, Progress};

/// How often the table is looked at.
const PERIOD: Duration = Duration::from_millis(200);

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// There is nothing to wait for.
    #[error("certificate {0} is not revoked")]
    NotRevoked(Uuid),
    /// A link did not hold in time.
    #[error("the revocation is not proven: it was not {} {}", .link.label(), told(.why.as_ref()))]
    Link {
        /// The first link that did not hold.
        link: Link,
        /// What went wrong, when that is known.
        why: Option<String>,
        /// How far it came.
        progress: Box<Progress>,
    },
    /// Postgres.
    #[error(transparent)]
    Outage(#[from] Outage),
}

/// Waits until the last link has held. `seen` is shown the state each time it is looked at.
pub async fn wait_for(
    database: &Database,
    certificate: Uuid,
    patience: Duration,
    mut seen: impl FnMut(&Progress),
) -> Result<Progress, Broken> {
    let deadline = Instant::now() + patience;
    loop {
        let found = revocations::progress(database.pool(), certificate).await?;
        let progress = found.ok_or(Broken::NotRevoked(certificate))?;
        seen(&progress);
        let Some(link) = missing(&progress) else { return Ok(progress) };
        // Nothing more will come where nobody looks at the broker.
        let unprovable = link == Link::Proven && progress.failed_link.as_deref() == Some(Link::Proven.label());
        if unprovable || Instant::now() >= deadline {
            return Err(Broken::Link { link, why: progress.failure.clone(), progress: Box::new(progress) });
        }
        sleep(PERIOD).await;
    }
}

/// The first link that has not held; none: all have.
pub fn missing(progress: &Progress) -> Option<Link> {
    let held = [
        (Link::Published, progress.published_at),
        (Link::Reloaded, progress.reloaded_at),
        (Link::Ended, progress.ended_at),
        (Link::Proven, progress.proven_at),
    ];
    held.into_iter().find(|(_, at)| at.is_none()).map(|(link, _)| link)
}

// --- private helpers ---

fn told(why: Option<&String>) -> String {
    why.map_or_else(
        || "in time: does a daemon run with DEVICE_CA_CERT_PATH, DEVICE_CA_KEY_PATH and CRL_OUTPUT_PATH?".to_owned(),
        |why| format!("({why})"),
    )
}
