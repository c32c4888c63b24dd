//! Devices renew their certificates themselves, a few at a time, after they have published.
//!
//! It stops at nothing: a failure is counted, and the first one is shown.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::histogram::{Histogram, Quantiles};
use crate::domain::ids::DeviceKey;
use crate::lifecycle::Tasks;
use crate::sim::fleet::device_client::{DeviceClient, DeviceClientError};
use crate::sim::fleet::device_listener::DeviceListener;
use crate::sim::fleet::renewal::{self, RenewalError};

/// Devices that renew at the same time.
const AT_ONCE: usize = 4;

/// Upper bound for all renewals.
const PATIENCE: Duration = Duration::from_mins(10);

/// A device that renews its certificate.
#[derive(Clone, Debug)]
pub struct RenewingDevice {
    /// Which.
    pub device: DeviceKey,
    /// The file with certificate and key, which it replaces.
    pub pem: PathBuf,
}

/// The renewals of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RenewalSummary {
    /// Certificates renewed and confirmed.
    pub renewed: u64,
    /// Devices that got none.
    pub failed: u64,
    /// Why the first of them got none.
    pub first_failure: Option<String>,
    /// From the request to the response with the certificate.
    pub latency: Option<Quantiles>,
}

#[derive(Default)]
struct RenewalProgress {
    waiting: VecDeque<RenewingDevice>,
    summary: RenewalSummary,
    latency: Histogram,
}

/// Renews the certificates of all these devices.
pub async fn renew_all(devices: Vec<RenewingDevice>, listener: &DeviceListener) -> RenewalSummary {
    let all = devices.len() as u64;
    let progress = Arc::new(Mutex::new(RenewalProgress {
        waiting: devices.into(),
        ..RenewalProgress::default()
    }));
    let mut tasks = Tasks::default();
    for _ in 0..AT_ONCE {
        tasks.spawn("renewals", renew_in_turn(Arc::clone(&progress), listener.clone()));
    }
    tasks.finish(PATIENCE).await;
    let progress = lock(&progress);
    let mut summary = progress.summary.clone();
    summary.latency = progress.latency.quantiles();
    summary.failed = all - summary.renewed;
    summary
}

async fn renew_in_turn(progress: Arc<Mutex<RenewalProgress>>, listener: DeviceListener) {
    let next = || lock(&progress).waiting.pop_front();
    while let Some(next) = next() {
        let renewed = renew_one(&next, &listener).await;
        let mut progress = lock(&progress);
        match renewed {
            Ok(after) => {
                progress.summary.renewed += 1;
                progress.latency.add(u64::try_from(after.as_micros()).unwrap_or(u64::MAX));
            }
            Err(error) => {
                let failure = format!("device {}: {error}", next.device);
                progress.summary.first_failure.get_or_insert(failure);
            }
        }
    }
}

async fn renew_one(
    renewing: &RenewingDevice,
    listener: &DeviceListener,
) -> Result<Duration, RenewalError> {
    let RenewingDevice { device, pem } = renewing;
    let client = DeviceClient::connect(listener, device, pem).await;
    let client = client.map_err(DeviceClientError::from)?;
    let (client, after) = renewal::renew(client, listener, device, pem).await?;
    // The revocation of the old certificate may have ended the session already.
    let _ = client.close().await;
    Ok(after)
}

fn lock(progress: &Mutex<RenewalProgress>) -> std::sync::MutexGuard<'_, RenewalProgress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl RenewalSummary ===

impl RenewalSummary {
    /// The summary as lines.
    pub fn lines(&self) -> Vec<String> {
        let all = self.renewed + self.failed;
        let mut lines = vec![format!("renewed      {} of {all} certificates", self.renewed)];
        let latency = self.latency;
        lines.extend(
            latency.map(|latency| format!("             {latency}, from request to certificate")),
        );
        lines.extend(self.first_failure.iter().map(|failure| format!("             {failure}")));
        lines
    }
}
